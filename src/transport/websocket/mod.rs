//! WebSocket, the reading side. Frames that go out are made in `message` and written past this.

mod boundary;
pub(crate) mod decoder;
