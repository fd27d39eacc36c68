//! What carries copies, behind the ports of [`crate::ports`]. Does I/O.

mod connect;
mod links;
mod rest;

pub use self::connect::ConnectClient;
pub use self::links::LinkClient;
