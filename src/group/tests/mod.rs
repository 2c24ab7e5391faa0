//! One test for each thing that Kafka's coordinator does, with Kafka's code; and the coordinator under simulation.

mod admin;
mod bounds;
mod commit;
mod expire;
mod join;
mod load;
mod node;
mod rebalance;
mod rewrite;
mod sim;
mod static_members;
