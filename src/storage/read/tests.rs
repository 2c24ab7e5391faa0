//! Reading, on simulated disks.
