//! One test for each thing that Kafka's coordinator does, with Kafka's code; and the coordinator under simulation.

mod join;
mod node;
