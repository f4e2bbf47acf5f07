//! A client opens a stream on a session, and the session echoes what it receives: everything in memory.

use bytes::BytesMut;
use spdy::Event;
use spdy::Frame;
use spdy::Session;
use spdy::client::Client;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut client, mut session) = (Client::new(), Session::new());
    let stream = client.open(&[("streamtype", "data")], false);
    client.data(stream, b"hello", true);

    // A real server reads from a socket into a buffer such as this one.
    let mut input: BytesMut = client.output.split();
    while let Some(event) = session.receive(&mut input)? {
        match event {
            Event::Opened { stream, headers, .. } => {
                println!("stream {stream} is opened with {headers:?}");
                session.accept(stream);
            }
            Event::Data { stream, bytes, fin } => {
                session.send(stream, &bytes);
                session.consumed(stream, bytes.len());
                if fin {
                    session.finish(stream);
                }
            }
            Event::Reset { stream } => println!("stream {stream} is reset"),
            Event::GoAway => println!("the client opens no more streams"),
        }
    }

    // ... and writes the output to the socket.
    for frame in client.read(session.output())? {
        if let Frame::Data { bytes, .. } = frame {
            println!("echoed: {}", String::from_utf8_lossy(&bytes));
        }
    }
    Ok(())
}
