//! Whole conversations of a session with a [`Client`], and sessions that receive arbitrary bytes.

use bytes::Bytes;
use bytes::BytesMut;
use proptest::prelude::*;

use super::client::Client;
use super::frame::Frame;
use super::frame::MAX_CONTROL;
use super::frame::MAX_DATA;
use super::frame::ResetStatus;
use super::frame::StreamId;
use super::headers::Encoder;
use super::headers::Headers;
use super::session::Error;
use super::session::Event;
use super::session::MAX_REPLIES;
use super::session::MAX_STREAMS;
use super::session::Session;
use super::session::WINDOW;

/// A control frame of any type and version.
pub(super) fn control(version: u8, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&[0x80, version, 0, kind, flags], &length[1..], payload].concat()
}

/// Everything that the server sent, which must be whole frames.
fn read(client: &mut Client, server: &mut BytesMut) -> Vec<Frame> {
    let frames = client.read(server).unwrap();
    assert!(server.is_empty(), "half a frame: {server:?}");
    frames
}

/// All events that the input gives, with consecutive data of a stream joined.
fn receive(session: &mut Session, input: &mut BytesMut) -> Result<Vec<Event>, Error> {
    let mut events: Vec<Event> = Vec::new();
    while let Some(event) = session.receive(input)? {
        push(&mut events, event);
    }
    Ok(events)
}

fn push(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (Some(Event::Data { stream, bytes, fin: last @ false }), Event::Data { stream: same, bytes: more, fin })
            if *stream == same =>
        {
            *bytes = [&bytes[..], &more[..]].concat().into();
            *last = fin;
        }
        (_, event) => events.push(event),
    }
}

fn data(stream: StreamId, bytes: &[u8], fin: bool) -> Event {
    Event::Data { stream, bytes: Bytes::copy_from_slice(bytes), fin }
}

fn data_frame(stream: StreamId, bytes: &[u8], fin: bool) -> Frame {
    Frame::Data { stream, bytes: Bytes::copy_from_slice(bytes), fin }
}

fn rst(stream: StreamId, status: ResetStatus) -> Frame {
    Frame::RstStream { stream, status: status as u32 }
}

fn reply(stream: StreamId) -> Frame {
    Frame::SynReply { stream, fin: false, block: Bytes::new() }
}

/// A client with one stream that the server has accepted.
fn accepted() -> (Client, Session, StreamId) {
    let (mut client, mut session) = (Client::new(), Session::new());
    let stream = client.open(&[("streamtype", "data")], false);
    assert_eq!(receive(&mut session, &mut client.output).unwrap().len(), 1);
    session.accept(stream);
    assert_eq!(read(&mut client, session.output()), [reply(stream)]);
    (client, session, stream)
}

#[test]
fn an_exec_is_opened_answered_used_and_finished() {
    let (mut client, mut session) = (Client::new(), Session::new());
    let kinds = ["error", "stdin", "stdout"];
    let [error, stdin, stdout] = kinds.map(|kind| client.open(&[("streamtype", kind)], kind != "stdin"));
    let opened = receive(&mut session, &mut client.output).unwrap();
    let expected = [error, stdin, stdout].into_iter().zip(kinds).map(|(stream, kind)| Event::Opened {
        stream,
        headers: [("streamtype", kind)].into_iter().collect(),
        fin: kind != "stdin",
    });
    assert_eq!(opened, expected.collect::<Vec<_>>());
    assert_eq!(read(&mut client, session.output()), []);
    for stream in [error, stdin, stdout, stdin] {
        session.accept(stream);
    }
    assert_eq!(read(&mut client, session.output()), [error, stdin, stdout].map(reply));

    client.data(stdin, b"echo\n", false);
    client.data(stdin, b"", false);
    client.data(stdin, b"", true);
    assert_eq!(receive(&mut session, &mut client.output).unwrap(), [data(stdin, b"echo\n", true)]);
    session.send(stdout, b"e");
    session.send(stdout, b"cho\n");
    for stream in [stdout, stdout, stdin, error] {
        session.finish(stream);
    }
    session.go_away();
    session.go_away();
    let expected = [
        data_frame(stdout, b"echo\n", true),
        data_frame(stdin, b"", true),
        data_frame(error, b"", true),
        Frame::GoAway { last_good: stdout, status: 0 },
    ];
    assert_eq!(read(&mut client, session.output()), expected);
    assert_eq!(session.open_streams(), 0);
}

#[test]
fn a_data_frame_is_handed_on_as_it_comes() {
    let (_, mut session, stream) = accepted();
    let mut input = BytesMut::from(&[0, 0, 0, 1, 1, 0xff, 0xff, 0xff][..]);
    let mut left = 0x00ff_ffff;
    for size in [0, 1, 5000].into_iter().cycle() {
        let size = left.min(size);
        input.extend_from_slice(&vec![7; size]);
        left -= size;
        let expected = Event::Data { stream, bytes: vec![7; size].into(), fin: left == 0 };
        assert_eq!(session.receive(&mut input).unwrap(), (size > 0).then_some(expected));
        assert!(input.is_empty());
        if left == 0 {
            break;
        }
    }
    session.finish(stream);
    assert_eq!(session.open_streams(), 0);
}

#[test]
fn nothing_is_sent_where_nobody_listens() {
    let (mut client, mut session) = (Client::new(), Session::new());
    let [early, finished, gone] = [(); 3].map(|()| client.open(&[], false));
    receive(&mut session, &mut client.output).unwrap();
    session.accept(finished);
    session.finish(finished);
    session.reset(gone, ResetStatus::Cancel);
    read(&mut client, session.output());
    for stream in [early, finished, gone, StreamId(9), StreamId(0)] {
        session.send(stream, b"data");
        session.finish(stream);
        assert_eq!(read(&mut client, session.output()), [], "{stream}");
    }
    session.accept(gone);
    session.reset(gone, ResetStatus::Cancel);
    assert_eq!(read(&mut client, session.output()), []);
}

#[test]
fn a_large_send_is_cut_into_frames() {
    let (mut client, mut session, stream) = accepted();
    let bytes: Vec<u8> = (0..2 * MAX_DATA + 1).map(|at| (at % 251) as u8).collect();
    session.send(stream, &bytes);
    let out = session.output();
    assert_eq!(out.len(), bytes.len() + 3 * 8);
    assert_eq!(out[..8], [0, 0, 0, 1, 0, 0, 0x80, 0]);
    assert_eq!(out[2 * (MAX_DATA + 8)..], [0, 0, 0, 1, 0, 0, 0, 1, bytes[2 * MAX_DATA]]);
    assert_eq!(read(&mut client, out), [data_frame(stream, &bytes, false)]);
}

#[test]
fn a_stream_id_that_is_even_or_does_not_grow_ends_the_connection() {
    for (id, last) in [(2, 1), (1, 1), (4, 1)] {
        let (mut client, mut session, stream) = accepted();
        let block = client.block(&[]);
        client.write(&Frame::SynStream { stream: StreamId(id), fin: false, unidirectional: false, block });
        let error = Err(Error::StreamId { stream: StreamId(id), last: StreamId(last) });
        assert_eq!(session.receive(&mut client.output), error);
        assert_eq!(read(&mut client, session.output()), [Frame::GoAway { last_good: stream, status: 1 }]);
        client.data(stream, b"more", false);
        assert_eq!(session.receive(&mut client.output), error, "and that is the end");
        assert_eq!(read(&mut client, session.output()), []);
    }
}

#[test]
fn more_streams_than_the_limit_are_refused_until_one_is_gone() {
    let (mut client, mut session) = (Client::new(), Session::new());
    let streams: Vec<StreamId> = (0..=MAX_STREAMS).map(|_| client.open(&[], false)).collect();
    assert_eq!(receive(&mut session, &mut client.output).unwrap().len(), MAX_STREAMS);
    assert_eq!(session.open_streams(), MAX_STREAMS);
    client.data(streams[MAX_STREAMS], b"in flight", true);
    client.write(&rst(streams[0], ResetStatus::Cancel));
    let more = client.open(&[], false);
    let events = receive(&mut session, &mut client.output).unwrap();
    let opened = Event::Opened { stream: more, headers: Headers::default(), fin: false };
    assert_eq!(events, [Event::Reset { stream: streams[0] }, opened]);
    assert_eq!(read(&mut client, session.output()), [rst(streams[MAX_STREAMS], ResetStatus::RefusedStream)]);
}

#[test]
fn a_unidirectional_stream_is_refused() {
    let (mut client, mut session) = (Client::new(), Session::new());
    let block = client.block(&[]);
    client.write(&Frame::SynStream { stream: StreamId(1), fin: false, unidirectional: true, block });
    assert_eq!(receive(&mut session, &mut client.output).unwrap(), []);
    assert_eq!(read(&mut client, session.output()), [rst(StreamId(1), ResetStatus::RefusedStream)]);
}

#[test]
fn streams_that_are_opened_after_goaway_are_ignored_and_the_others_go_on() {
    let (mut client, mut session, stream) = accepted();
    session.go_away();
    let late = client.open(&[("port", "1")], false);
    client.data(late, b"lost", true);
    client.data(stream, b"kept", true);
    client.write(&Frame::GoAway { last_good: StreamId(0), status: 0 });
    let events = receive(&mut session, &mut client.output).unwrap();
    assert_eq!(events, [data(stream, b"kept", true), Event::GoAway]);
    session.finish(stream);
    let expected = [Frame::GoAway { last_good: stream, status: 0 }, data_frame(stream, b"", true)];
    assert_eq!(read(&mut client, session.output()), expected);
}

#[test]
fn pings_of_the_client_are_echoed_and_ours_would_not_be() {
    let (mut client, mut session, _) = accepted();
    for id in [1, 2, 0xffff_ffff, 3] {
        client.write(&Frame::Ping { id });
    }
    assert_eq!(receive(&mut session, &mut client.output).unwrap(), []);
    assert_eq!(read(&mut client, session.output()), [1, 0xffff_ffff, 3].map(|id| Frame::Ping { id }));
}

#[test]
fn frames_without_a_use_are_ignored_but_their_headers_decompressed() {
    let (mut client, mut session, stream) = accepted();
    let delta = 1;
    for frame in [Frame::Settings, Frame::WindowUpdate { stream, delta }, rst(StreamId(7), ResetStatus::Cancel)] {
        client.write(&frame);
    }
    client.output.extend_from_slice(&control(3, 4, 0, &[&[0, 0, 0, 1][..], &[9; 8]].concat()));
    client.output.extend_from_slice(&control(3, 10, 0, &[0; 3]));
    client.output.extend_from_slice(&control(3, 200, 0xff, &[]));
    let block = client.block(&[("x", "from SYN_REPLY")]);
    client.write(&Frame::SynReply { stream, fin: true, block });
    let block = client.block(&[("x", "from HEADERS")]);
    client.write(&Frame::Headers { stream, fin: false, block });
    assert_eq!(receive(&mut session, &mut client.output).unwrap(), []);
    assert!(session.output().is_empty());

    let next = client.open(&[("x", "from HEADERS")], false);
    let block = client.block(&[]);
    client.write(&Frame::Headers { stream, fin: true, block });
    let headers = [("x", "from HEADERS")].into_iter().collect();
    let expected = [Event::Opened { stream: next, headers, fin: false }, data(stream, b"", true)];
    assert_eq!(receive(&mut session, &mut client.output).unwrap(), expected);
}

#[test]
fn data_after_the_end_of_a_stream_resets_it() {
    let (mut client, mut session, stream) = accepted();
    client.data(stream, b"all", true);
    client.data(stream, b"more", false);
    client.data(stream, b"and more", false);
    let events = receive(&mut session, &mut client.output).unwrap();
    assert_eq!(events, [data(stream, b"all", true), Event::Reset { stream }]);
    assert_eq!(read(&mut client, session.output()), [rst(stream, ResetStatus::StreamAlreadyClosed)]);
    assert_eq!(session.open_streams(), 0);
}

#[test]
fn data_for_a_stream_that_was_never_opened_is_dropped_and_said_so_once() {
    let (mut client, mut session, _) = accepted();
    for id in [3, 3, 2, 2, 3] {
        client.data(StreamId(id), b"data", false);
    }
    assert_eq!(receive(&mut session, &mut client.output).unwrap(), []);
    let expected = [3, 2, 3].map(|id| rst(StreamId(id), ResetStatus::InvalidStream));
    assert_eq!(read(&mut client, session.output()), expected);
}

#[test]
fn data_for_a_stream_that_we_reset_is_dropped_quietly() {
    let (mut client, mut session, stream) = accepted();
    client.data(stream, b"before and after", true);
    let mut head = client.output.split_to(8 + 6);
    assert_eq!(session.receive(&mut head).unwrap(), Some(data(stream, b"before", false)));
    session.reset(stream, ResetStatus::Cancel);
    client.write(&rst(stream, ResetStatus::Cancel));
    assert_eq!(receive(&mut session, &mut client.output).unwrap(), []);
    assert_eq!(read(&mut client, session.output()), [rst(stream, ResetStatus::Cancel)]);
}

#[test]
fn a_stream_that_the_client_resets_is_gone() {
    let (mut client, mut session, stream) = accepted();
    client.write(&rst(stream, ResetStatus::Cancel));
    assert_eq!(receive(&mut session, &mut client.output).unwrap(), [Event::Reset { stream }]);
    session.send(stream, b"late");
    session.reset(stream, ResetStatus::Cancel);
    assert!(session.output().is_empty());
}

#[test]
fn windows_are_granted_by_halves_and_for_data_that_nobody_wanted_too() {
    let (mut client, mut session, stream) = accepted();
    let half = WINDOW / 2;
    session.consumed(stream, half - 1);
    assert!(session.output().is_empty());
    session.consumed(stream, 1);
    let connection = StreamId(0);
    let granted = |stream, delta: usize| Frame::WindowUpdate { stream, delta: delta as u32 };
    assert_eq!(read(&mut client, session.output()), [granted(stream, half), granted(connection, half)]);
    client.data(StreamId(2), &vec![0; half], false);
    receive(&mut session, &mut client.output).unwrap();
    let expected = [rst(StreamId(2), ResetStatus::InvalidStream), granted(connection, half)];
    assert_eq!(read(&mut client, session.output()), expected);
    client.data(stream, b"", true);
    receive(&mut session, &mut client.output).unwrap();
    session.consumed(stream, usize::MAX);
    assert_eq!(
        read(&mut client, session.output()),
        [granted(connection, 0x7fff_ffff)],
        "the client sends no more on it"
    );
}

#[test]
fn a_peer_that_asks_and_does_not_read_is_given_up() {
    let (mut client, mut session, stream) = accepted();
    session.send(stream, &vec![0; 2 * MAX_REPLIES]);
    // As many as fit, beside the SYN_REPLY.
    let asked = MAX_REPLIES / 12 - 10;
    for round in 0..3 {
        (0..asked).for_each(|_| client.write(&Frame::Ping { id: 1 }));
        assert_eq!(session.receive(&mut client.output), Ok(None), "{round}");
        // What is read makes room again.
        session.output().clear();
    }
    (0..asked + 20).for_each(|_| client.write(&Frame::Ping { id: 1 }));
    assert_eq!(session.receive(&mut client.output), Err(Error::Unread));
    assert!(session.output().len() < MAX_REPLIES + 100);
}

/// What a client may do.
#[derive(Debug, Clone)]
enum Step {
    Open(bool),
    Data(usize, Vec<u8>, bool),
    Reset(usize),
    Ping(u32),
    Headers(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<bool>().prop_map(Step::Open),
        5 => (0..6usize, prop::collection::vec(any::<u8>(), 0..3000), prop::bool::weighted(0.2))
            .prop_map(|(stream, bytes, fin)| Step::Data(stream, bytes, fin)),
        1 => (0..6usize).prop_map(Step::Reset),
        1 => any::<u32>().prop_map(Step::Ping),
        1 => (0..6usize).prop_map(Step::Headers),
    ];
    prop::collection::vec(step, 0..30)
}

fn play(steps: &[Step]) -> BytesMut {
    let mut client = Client::new();
    let id = |number: &usize| StreamId(*number as u32 * 2 + 1);
    for (number, step) in steps.iter().enumerate() {
        let number = number.to_string();
        match step {
            Step::Open(fin) => _ = client.open(&[("streamtype", "data"), ("requestid", &number)], *fin),
            Step::Data(stream, bytes, fin) => client.data(id(stream), bytes, *fin),
            Step::Reset(stream) => client.write(&rst(id(stream), ResetStatus::Cancel)),
            Step::Ping(id) => client.write(&Frame::Ping { id: *id }),
            Step::Headers(stream) => {
                let block = client.block(&[("number", &number)]);
                client.write(&Frame::Headers { stream: id(stream), fin: false, block });
            }
        }
    }
    client.output
}

/// Bytes that are frames in form, so that they get past the first check.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = || prop::collection::vec(any::<u8>(), 0..40);
    let stream_bytes = prop::collection::vec(0..4u8, 8..9);
    let frame = prop_oneof![
        payload(),
        (0..12u8, any::<u8>(), payload()).prop_map(|(kind, flags, bytes)| control(3, kind, flags, &bytes)),
        (0..12u8, stream_bytes).prop_map(|(kind, bytes)| control(3, kind, 0, &bytes)),
        (0..5u8, 0..2u8, payload()).prop_map(|(id, flags, bytes)| [
            &[0, 0, 0, id, flags, 0, 0, bytes.len() as u8][..],
            &bytes
        ]
        .concat()),
        (1..20u8, any::<bool>()).prop_map(|(id, fin)| {
            let payload =
                [&[0, 0, 0, id, 0, 0, 0, 0, 0, 0][..], &Encoder::new().encode(&Headers::default()).unwrap()].concat();
            control(3, 1, fin.into(), &payload)
        }),
    ];
    prop::collection::vec(frame, 0..20).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_sizes_in_which_bytes_come_do_not_matter(
        steps in steps(),
        sizes in prop::collection::vec(1..4000usize, 1..20),
    ) {
        let bytes = play(&steps);
        let mut whole = Session::new();
        let expected = receive(&mut whole, &mut bytes.clone()).unwrap();
        let (mut session, mut rest, mut input, mut events) = (Session::new(), bytes, BytesMut::new(), Vec::new());
        for size in sizes.iter().cycle() {
            input.extend_from_slice(&rest.split_to((*size).min(rest.len())));
            while let Some(event) = session.receive(&mut input).unwrap() {
                push(&mut events, event);
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(input.is_empty());
        prop_assert_eq!(events, expected);
        prop_assert_eq!(session.open_streams(), whole.open_streams());
    }

    #[test]
    fn any_bytes_are_survived_with_little_memory(bytes in almost_frames(), size in 1..200usize) {
        let (mut session, mut input, mut received) = (Session::new(), BytesMut::new(), 0);
        for chunk in bytes.chunks(size) {
            input.extend_from_slice(chunk);
            match receive(&mut session, &mut input) {
                Ok(events) => received += events.iter().map(|event| match event {
                    Event::Data { bytes, .. } => bytes.len(),
                    _ => 0,
                }).sum::<usize>(),
                Err(_) => break,
            }
            prop_assert!(input.len() <= MAX_CONTROL + 8);
        }
        prop_assert!(received <= bytes.len());
        prop_assert!(session.output().len() <= 2 * bytes.len() + 16);
        prop_assert!(session.open_streams() <= bytes.len() / 18);
    }

    #[test]
    fn what_is_sent_arrives(
        sent in prop::collection::vec((0..4usize, any::<u8>(), 0..70_000usize), 0..12),
    ) {
        let (mut client, mut session) = (Client::new(), Session::new());
        let streams = [(); 4].map(|()| client.open(&[("streamtype", "data")], false));
        let mut totals = [const { Vec::new() }; 4];
        for (stream, byte, count) in sent {
            let bytes = vec![byte; count];
            client.data(streams[stream], &bytes, false);
            totals[stream].extend(bytes);
        }
        for stream in streams {
            client.data(stream, b"", true);
        }
        while let Some(event) = session.receive(&mut client.output).unwrap() {
            match event {
                Event::Opened { stream, .. } => session.accept(stream),
                Event::Data { stream, bytes, fin } => {
                    session.send(stream, &bytes);
                    session.consumed(stream, bytes.len());
                    if fin {
                        session.finish(stream);
                    }
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(session.open_streams(), 0);
        let (mut echoed, mut ended) = ([const { Vec::new() }; 4], 0);
        for frame in read(&mut client, session.output()) {
            if let Frame::Data { stream, bytes, fin } = frame {
                echoed[stream.0 as usize / 2].extend_from_slice(&bytes);
                ended += usize::from(fin);
            }
        }
        prop_assert_eq!(ended, 4);
        prop_assert!(echoed == totals);
    }
}
