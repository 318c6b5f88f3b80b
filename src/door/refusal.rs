//! Refusals: answers to those who do not get in, plain HTTP or a close, with a reason and what to do next.

use super::admission::NoSeat;
use crate::message::wire::Wire;
use crate::protocol::close::CloseCode;
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of a request that are read before it is refused: closing with bytes unread resets, and the client
/// would never see why.
const UNHEARD_BYTES_MAX: usize = 256 << 10;

/// What a connection gets that came through the door just before it was shut.
pub(crate) fn shut(wire: Wire) -> Vec<u8> {
    unavailable(wire, 1, "the server is shutting down")
}

/// A whole answer.
pub(super) fn response(status: &str, extra: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\n{extra}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}\n",
        body.len() + 1
    )
    .into_bytes()
}

/// The answer to a connection for which there is no seat.
pub(super) fn no_seat(wire: Wire, why: NoSeat) -> Vec<u8> {
    unavailable(wire, 5, &why.to_string())
}

fn unavailable(wire: Wire, retry_after_s: u32, why: &str) -> Vec<u8> {
    match wire {
        Wire::WebSocket => {
            response("503 Service Unavailable", &format!("Retry-After: {retry_after_s}\r\n"), why)
        }
        Wire::Tcp | Wire::Udp => wire.close(CloseCode::TRY_LATER, why),
    }
}

/// Reads the request to its end, where the wire begins with one, then says that there is no seat.
pub(super) async fn refuse_unheard(mut stream: TcpStream, wire: Wire, why: NoSeat) {
    let mut head = Vec::new();
    let mut piece = [0; 2_048];
    while wire == Wire::WebSocket
        && !head.windows(4).any(|four| four == b"\r\n\r\n")
        && head.len() < UNHEARD_BYTES_MAX
    {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                // The end of the head may straddle two reads; what lies further back cannot matter.
                let kept = head.len().saturating_sub(3);
                head.drain(..kept);
                head.extend_from_slice(&piece[..read]);
            }
        }
    }
    send(stream, &no_seat(wire, why)).await;
}

/// Sends an answer and closes such that it arrives: the rest of what the client sends is read first.
pub(super) async fn send(mut stream: TcpStream, answer: &[u8]) {
    let _ = write_and_drain(&mut stream, answer).await;
}

async fn write_and_drain(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut left = UNHEARD_BYTES_MAX;
    let mut piece = [0; 2_048];
    while left > 0 {
        match stream.read(&mut piece).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}
