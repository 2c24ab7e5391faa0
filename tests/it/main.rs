//! The one integration test binary: the repository's own rules, the command line, and real clients against a node.

mod tidy;
