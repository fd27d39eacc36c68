//! What carries copies, behind the ports of [`crate::ports`]. Does I/O.

mod connect;

pub use self::connect::ConnectClient;
