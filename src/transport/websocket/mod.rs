//! WebSocket, the reading side. Frames that go out are made in `message` and written past this.

pub(crate) mod decoder;
