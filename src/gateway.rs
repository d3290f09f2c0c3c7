//! The assembly: builds every room, binds, announces the addresses, and drains in order.
