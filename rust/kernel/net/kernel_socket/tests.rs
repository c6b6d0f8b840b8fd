// SPDX-License-Identifier: GPL-2.0

//! Tests of kernel sockets, over the loopback device of the initial network namespace.

mod interference;
mod loopback;

use self::loopback::{
    bring_loopback_up,
    connect,
    datagram,
    expect,
    listener,
    pair,
    stream,
    when_ready,
    Bells,
    Buffer, //
};

use super::{
    udp_memory,
    Buffers,
    UrgentByte,
    UrgentChange,
    UrgentState, //
};
use crate::{
    net::{
        sock::TcpState,
        socket::How, //
    },
    prelude::*,
    sync::atomic::Relaxed, //
};

#[macros::kunit_tests(rust_kernel_socket)]
mod suite {
    use super::*;

    #[test]
    fn listener_is_told_and_knows_the_peer() -> Result {
        let listener = listener()?;
        let bells = Bells::on(&listener, 0)?;
        assert_eq!(listener.accept().err(), Some(EAGAIN));

        let client = connect(&listener)?;
        bells.data.wait_for_completion();
        let (accepted, peer) = listener.accept()?;

        assert_eq!(peer, client.local_addr()?);
        assert_eq!(accepted.peer_addr()?, peer);
        assert_eq!(accepted.tcp_state(), TcpState::Established);
        assert_eq!(listener.tcp_state(), TcpState::Listen);
        assert_eq!(listener.accept().err(), Some(EAGAIN));
        Ok(())
    }

    #[test]
    fn urgent_byte_and_the_end_at_once() -> Result {
        let (_listener, client, accepted) = pair()?;
        accepted.set_urgent_inline()?;
        let bells = Bells::on(&accepted, 1)?;
        assert_eq!(Buffer::with(b"D", |vecs| client.send_urgent(vecs))?, Ok(1));
        client.shutdown(How::Write)?;
        bells.state.wait_for_completion();

        let buffer = Buffer::new()?;
        assert_eq!(accepted.recv(&buffer.vecs(64)?), Ok(1));
        assert_eq!(
            accepted.urgent_change(&mut UrgentState::default()),
            Some(UrgentChange {
                offset: u32::MAX,
                byte: UrgentByte::Received,
            })
        );
        accepted.clear_callbacks();
        Ok(())
    }

    #[test]
    fn accepted_sockets_have_callbacks_of_their_own() -> Result {
        let listener = listener()?;
        let bells = Bells::on(&listener, 0)?;

        // Data that arrives before the connection is accepted is not announced, but is not lost.
        let client = connect(&listener)?;
        assert_eq!(Buffer::with(b"early", |vecs| client.send(vecs))?, Ok(5));
        bells.data.wait_for_completion();
        let (accepted, _) = listener.accept()?;
        let calls = bells.data_calls.load(Relaxed);

        assert!(expect(&accepted, b"early")?);

        let own = Bells::on(&accepted, 0)?;
        assert_eq!(accepted.set_callbacks(own.clone()), Err(EBUSY));
        assert_eq!(Buffer::with(b"late", |vecs| client.send(vecs))?, Ok(4));
        own.data.wait_for_completion();
        accepted.clear_callbacks();
        assert!(expect(&accepted, b"late")?);

        assert_eq!(bells.data_calls.load(Relaxed), calls);
        drop(listener);
        drop(accepted);
        Ok(())
    }

    #[test]
    fn listener_without_callbacks_makes_plain_sockets() -> Result {
        let listener = listener()?;
        let bells = Bells::on(&listener, 0)?;
        let client = connect(&listener)?;
        bells.data.wait_for_completion();

        // The connection was created with callbacks that the listener does not have any more.
        listener.clear_callbacks();
        let (accepted, _) = listener.accept()?;
        assert_eq!(Buffer::with(b"data", |vecs| client.send(vecs))?, Ok(4));
        assert!(expect(&accepted, b"data")?);
        Ok(())
    }

    #[test]
    fn closing_a_listener_resets_what_nobody_accepted() -> Result {
        let listener = listener()?;
        let bells = Bells::on(&listener, 0)?;
        let client = connect(&listener)?;
        let own = Bells::on(&client, 0)?;
        bells.data.wait_for_completion();

        drop(listener);
        own.error.wait_for_completion();
        assert_eq!(client.take_error(), Some(ECONNRESET));
        Ok(())
    }

    #[test]
    fn accepting_what_was_reset() -> Result {
        let listener = listener()?;
        let bells = Bells::on(&listener, 0)?;
        let client = connect(&listener)?;
        bells.data.wait_for_completion();
        let name = client.local_addr()?;
        client.disconnect()?;

        let (accepted, peer) = listener.accept()?;
        assert_eq!(peer, name);
        let own = Bells::on(&accepted, 0)?;
        if accepted.tcp_state() != TcpState::Close {
            own.error.wait_for_completion();
        }
        assert_eq!(accepted.peer_addr().err(), Some(ENOTCONN));
        assert_eq!(accepted.take_error(), Some(ECONNRESET));
        Ok(())
    }

    /// Those who hold a socket to a small buffer rely on that.
    #[test]
    fn an_empty_buffer_takes_one_datagram_of_any_length() -> Result {
        bring_loopback_up()?;
        let (from, to) = (datagram()?, datagram()?);
        let send = || Buffer::with(&[7; 64], |vecs| from.send_to(vecs, to.local_addr()?))?;
        let buffer = Buffer::new()?;
        let vecs = buffer.vecs(64)?;
        let sizes = to.buffer_sizes();

        assert!(udp_memory() > 0);
        to.set_buffer_sizes(Buffers {
            received: 1,
            ..sizes
        });
        for _ in 0..2 {
            assert_eq!(to.buffered().received, 0);
            assert_eq!(send(), Ok(64));
            when_ready(&to, || to.recv_from(&vecs))?;
            assert_eq!(send(), Ok(64));
            assert_eq!(send(), Ok(64));
            when_ready(&to, || to.recv_from(&vecs))?;
            assert_eq!(to.recv_from(&vecs).err(), Some(EAGAIN));
        }
        // The loopback device has taken all of them.
        assert_eq!(from.in_flight(), 0);
        Ok(())
    }

    #[test]
    fn with_the_lock_bytes_are_moved_at_once() -> Result {
        let (listener, client, accepted) = pair()?;
        let buffer = Buffer::new()?;
        let vecs = buffer.vecs(4)?;

        assert_eq!(accepted.with_lock(|tcp| tcp.recv(&vecs)), Some(Err(EAGAIN)));
        let own = Bells::on(&accepted, 0)?;
        let sent = Buffer::with(b"bytes", |vecs| {
            client.with_lock(|tcp| tcp.send(vecs, false))
        })?;
        assert_eq!(sent, Some(Ok(5)));
        own.data.wait_for_completion();
        assert_eq!(accepted.with_lock(|tcp| tcp.recv(&vecs)), Some(Ok(4)));
        assert!(buffer.holds(b"byte")?);
        accepted.clear_callbacks();
        assert!(expect(&accepted, b"s")?);
        assert_eq!(listener.with_lock(|_| ()), None);
        Ok(())
    }

    #[test]
    fn with_the_lock_errors_are_left_to_others() -> Result {
        let (_listener, client, accepted) = pair()?;
        let buffer = Buffer::new()?;
        let vecs = buffer.vecs(4)?;

        // `Locked::recv` does not pass an urgent byte.
        accepted.set_urgent_inline()?;
        let own = Bells::on(&accepted, 0)?;
        assert_eq!(Buffer::with(b"!", |vecs| client.send_urgent(vecs))?, Ok(1));
        own.data.wait_for_completion();
        assert_eq!(accepted.with_lock(|tcp| tcp.recv(&vecs)), Some(Err(EBUSY)));
        accepted.clear_callbacks();
        assert!(expect(&accepted, b"!")?);

        // `Locked` does not take a pending error either.
        let own = Bells::on(&accepted, 0)?;
        client.set_linger_abort();
        drop(client);
        own.error.wait_for_completion();
        assert_eq!(
            accepted.with_lock(|tcp| tcp.send(&vecs, false)),
            Some(Err(EBUSY))
        );
        assert_eq!(accepted.take_error(), Some(ECONNRESET));
        Ok(())
    }

    #[test]
    fn the_end_is_acknowledged() -> Result {
        let (listener, client, accepted) = pair()?;
        assert_eq!(client.unacked_bytes(), 0);
        assert_eq!(listener.unacked_bytes(), 0);

        // One change for the shutdown itself, one for the acknowledgment of all data.
        let own = Bells::on(&client, 2)?;
        assert_eq!(Buffer::with(b"data", |vecs| client.send(vecs))?, Ok(4));
        assert!(client.unacked_bytes() <= 4);
        client.shutdown(How::Write)?;
        own.state.wait_for_completion();
        assert_eq!(client.tcp_state(), TcpState::FinWait2);
        assert_eq!(client.unacked_bytes(), 0);

        assert!(expect(&accepted, b"data")?);
        assert!(expect(&accepted, b"")?);
        Ok(())
    }

    #[test]
    fn datagrams() -> Result {
        bring_loopback_up()?;
        let (a, b) = (datagram()?, datagram()?);
        let (from, to) = (a.local_addr()?, b.local_addr()?);
        let buffer = Buffer::new()?;

        assert_eq!(b.recv_from(&buffer.vecs(10)?).err(), Some(EAGAIN));
        let send = |bytes| Buffer::with(bytes, |vecs| a.send_to(vecs, to));
        assert_eq!(send(b"four")?, Ok(4));
        assert_eq!(send(b"longer than that")?, Ok(16));
        assert_eq!(send(b"")?, Ok(0));

        let recv = |room| when_ready(&b, || b.recv_from(&buffer.vecs(room)?));
        let first = recv(64)?;
        assert_eq!((first.len, first.copied, first.from), (4, 4, from));
        assert!(buffer.holds(b"four")?);
        let second = recv(6)?;
        assert_eq!((second.len, second.copied, second.from), (16, 6, from));
        assert!(buffer.holds(b"longer")?);
        let third = recv(64)?;
        assert_eq!((third.len, third.copied, third.from), (0, 0, from));
        Ok(())
    }

    #[test]
    fn datagrams_to_a_peer() -> Result {
        bring_loopback_up()?;
        let (a, b) = (datagram()?, datagram()?);
        let bells = Bells::on(&a, 0)?;

        let send = || Buffer::with(b"x", |vecs| a.send(vecs));
        assert_eq!(send()?, Err(EDESTADDRREQ));
        a.connect(b.local_addr()?)?;
        assert_eq!(a.peer_addr()?, b.local_addr()?);
        assert_eq!(send()?, Ok(1));

        drop(b);
        assert_eq!(send()?, Ok(1));
        bells.error.wait_for_completion();
        assert_eq!(send()?, Err(ECONNREFUSED));

        a.disconnect()?;
        assert_eq!(a.peer_addr().err(), Some(ENOTCONN));
        assert_eq!(send()?, Err(EDESTADDRREQ));
        Ok(())
    }

    #[test]
    fn options_have_exact_lengths() -> Result {
        const SOL_TCP: i32 = 6;
        const TCP_MAXSEG: i32 = 2;
        const TCP_INFO: i32 = 11;
        const TCP_CONGESTION: i32 = 13;
        const TCP_ULP: i32 = 31;
        const TCP_ZEROCOPY_RECEIVE: i32 = 35;
        const SOL_IPV6: i32 = 41;
        const IPV6_ADDRFORM: i32 = 1;
        const IPV6_V6ONLY: i32 = 26;

        let socket = stream()?;
        let mut value = [0xff; 512];

        socket.set_option(SOL_TCP, TCP_MAXSEG, &1000i32.to_ne_bytes())?;
        assert_eq!(socket.get_option(SOL_TCP, TCP_MAXSEG, &mut value)?, 4);
        assert_eq!(value[..5], [0xe8, 3, 0, 0, 0xff]);
        assert_eq!(socket.get_option(SOL_TCP, TCP_MAXSEG, &mut value[..2])?, 2);

        let name = socket.get_option(SOL_TCP, TCP_CONGESTION, &mut value)?;
        assert_eq!(name, 16);
        let unknown = socket.set_option(SOL_TCP, TCP_CONGESTION, b"no such thing");
        assert_eq!(unknown, Err(ENOENT));

        let info = socket.get_option(SOL_TCP, TCP_INFO, &mut value)?;
        assert!(info >= 104 && info < value.len());
        assert_eq!(value[info], 0xff);
        assert_eq!(value[0], TcpState::Close as u8);

        assert_eq!(
            socket.set_option(SOL_TCP, TCP_ULP, b"tls"),
            Err(ENOPROTOOPT)
        );
        let zerocopy = socket.get_option(SOL_TCP, TCP_ZEROCOPY_RECEIVE, &mut value);
        assert_eq!(zerocopy, Err(ENOPROTOOPT));
        let v6only = socket.get_option(SOL_IPV6, IPV6_V6ONLY, &mut value);
        assert_eq!(v6only, Err(EOPNOTSUPP));
        let to_ipv4 = socket.set_option(SOL_IPV6, IPV6_ADDRFORM, &2i32.to_ne_bytes());
        assert_eq!(to_ipv4, Err(ENOPROTOOPT));
        let udp_has_no_tcp = datagram()?.get_option(SOL_TCP, TCP_INFO, &mut value);
        assert_eq!(udp_has_no_tcp, Err(EOPNOTSUPP));
        Ok(())
    }
}
