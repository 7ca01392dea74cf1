//! A long link in front of a session: what the session sends arrives a round trip later. Latency,
//! not a lower rate: any number of replies are under way at once.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The session's end of a link, and the end for [`carry`].
pub(crate) fn ends() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(BUFFER)
}

/// Carries octets between `outside` and the far end of a link until the session drops its end and
/// all it sent has arrived.
pub(crate) async fn carry<S>(outside: &mut S, far_end: DuplexStream, round_trip: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_outside, to_outside) = tokio::io::split(outside);
    let (from_session, mut to_session) = tokio::io::split(far_end);
    let (sender, receiver) = mpsc::channel(MAX_UNDER_WAY);
    let inwards = async {
        // An error is the end of input like any other.
        let _ = tokio::io::copy(&mut from_outside, &mut to_session).await;
        let _ = to_session.shutdown().await;
        std::future::pending::<()>().await;
    };
    let outwards = async {
        tokio::join!(depart(from_session, sender, round_trip), arrive(receiver, to_outside))
    };
    tokio::select! {
        _ = outwards => {}
        () = inwards => {}
    }
}

/// Octets on their way, and when they arrive.
type Parcel = (Instant, Bytes);

async fn depart(
    mut from: impl AsyncRead + Unpin,
    parcels: mpsc::Sender<Parcel>,
    round_trip: Duration,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    while from.read_buf(&mut buffer).await? > 0 {
        let parcel = (Instant::now() + round_trip, buffer.split().freeze());
        if parcels.send(parcel).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn arrive(
    mut parcels: mpsc::Receiver<Parcel>,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some((due, octets)) = parcels.recv().await {
        tokio::time::sleep_until(due).await;
        to.write_all(&octets).await?;
    }
    to.shutdown().await
}

/// What one side of a link holds beyond what is under way: a read's worth.
const BUFFER: usize = 256 << 10;

/// Writes under way on one link. Each is at most a buffer long, most are a reply or a flight of
/// them: enough that a round trip of seconds does not lower the rate.
const MAX_UNDER_WAY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// Many requests at once are answered one round trip later, not one round trip each.
    #[tokio::test(start_paused = true)]
    async fn replies_come_a_round_trip_later_and_overlap() {
        let round_trip = Duration::from_millis(200);
        let (mut client, mut outside) = tokio::io::duplex(4096);
        let (mut session, far_end) = ends();
        let start = Instant::now();
        let echo = async move {
            let mut octets = [0; 1];
            while session.read(&mut octets).await.unwrap() > 0 {
                session.write_all(&octets).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let conversation = async {
            client.write_all(&[b'x'; 50]).await.unwrap();
            let mut first = [0; 1];
            client.read_exact(&mut first).await.unwrap();
            assert_eq!(start.elapsed(), round_trip);
            let mut others = [0; 49];
            client.read_exact(&mut others).await.unwrap();
            let last = start.elapsed();
            assert!(last >= round_trip && last < round_trip * 3 / 2, "{last:?}");
            client.shutdown().await.unwrap();
            assert_eq!(client.read(&mut first).await.unwrap(), 0);
        };
        tokio::join!(carry(&mut outside, far_end, round_trip), echo, conversation);
    }
}
