//! Recovery, on simulated disks.
