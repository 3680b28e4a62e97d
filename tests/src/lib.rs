//! Support for the end-to-end tests: the built programs, a scene to run them in, and what they left behind.
//!
//! Owns nothing of the product. Called by `tests/tests/*.rs`.

pub mod cluster;
pub mod dock;
pub mod docker;
pub mod framework;
pub mod images;
pub mod processes;
pub mod programs;
pub mod scene;
pub mod skip;
pub mod wait;

pub use cluster::TestCluster;
pub use dock::Dock;
pub use framework::Framework;
pub use scene::{Done, Running, Scene, printed};
pub use skip::skip;
