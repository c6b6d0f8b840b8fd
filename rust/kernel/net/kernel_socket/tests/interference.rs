// SPDX-License-Identifier: GPL-2.0

//! Tests of what others do to a kernel socket: administrators destroy it, BPF puts it into a map.

use super::{
    super::{
        callbacks::RawCallbacks,
        Callbacks,
        KernelSocket,
        Locked,
        Tally,
        Tcp,
        Udp, //
    },
    loopback::{
        listener,
        stream,
        Bells, //
    }, //
};

use crate::{
    bindings,
    net::{
        addr::Domain,
        namespace::Namespace,
        sock::{
            Sock,
            TcpState, //
        }, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// Counts calls, and those that were told that the socket is locked.
struct Calls {
    all: Atomic<usize>,
    locked: Atomic<usize>,
}

impl Callbacks for Calls {
    fn data_ready(&self, tcp: Option<&Locked<'_>>) {
        self.all.add(1, Relaxed);
        if tcp.is_some() {
            self.locked.add(1, Relaxed);
        }
    }

    fn write_space(&self) {}

    fn state_change(&self) {}

    fn error_report(&self) {}
}

#[macros::kunit_tests(rust_kernel_socket_interference)]
mod suite {
    use super::*;

    #[test]
    fn a_former_listener_may_be_unlocked() -> Result {
        let listener = listener()?;
        let (all, locked) = (Atomic::new(0), Atomic::new(0));
        let calls = Arc::new(Calls { all, locked }, GFP_KERNEL)?;
        listener.set_callbacks(calls.clone())?;

        listener.disconnect()?;
        assert_eq!(listener.tcp_state(), TcpState::Close);
        let sk = listener.sk().as_raw();
        // A connection arrives that has found the listener before.
        // SAFETY: The socket is valid, and nothing changes its callbacks.
        if let Some(data_ready) = unsafe { (*sk).sk_data_ready } {
            // SAFETY: TCP calls this for its listeners, without the lock.
            unsafe { data_ready(sk) };
        }
        assert_eq!(calls.all.load(Relaxed), 1);
        assert_eq!(calls.locked.load(Relaxed), 0);
        assert_eq!(listener.with_lock(|_| ()), None);
        listener.clear_callbacks();
        Ok(())
    }

    #[test]
    fn a_former_listener_is_counted_while_it_is_open() -> Result {
        let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
        let mut listener = listener()?;
        listener.count_in(&tally)?;
        listener.disconnect()?;

        let sk: ARef<Sock> = listener.sk().into();
        assert_eq!(tally.count(), 1);
        drop(listener);
        // A copy of the socket would have the same pointer to the count.
        // SAFETY: The socket is valid, and nothing else uses it.
        assert!(unsafe { (*sk.as_raw()).sk_user_data }.is_null());
        assert_eq!(tally.count(), 0);
        Ok(())
    }

    #[test]
    fn a_closed_socket_is_counted() -> Result {
        let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
        let mut socket = stream()?;
        socket.count_in(&tally)?;

        let sk: ARef<Sock> = socket.sk().into();
        assert_eq!((tally.count(), tally.closed::<Tcp>()), (1, 0));
        drop(socket);
        assert_eq!((tally.count(), tally.closed::<Tcp>()), (1, 1));
        drop(sk);
        assert_eq!((tally.count(), tally.closed::<Tcp>()), (0, 0));
        Ok(())
    }

    #[test]
    fn a_closed_datagram_socket_is_counted() -> Result {
        let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
        let mut socket = KernelSocket::datagram(Namespace::init(), Domain::Inet)?;
        socket.count_in(&tally)?;

        let sk: ARef<Sock> = socket.sk().into();
        drop(socket);
        assert_eq!((tally.count(), tally.closed::<Udp>()), (1, 1));
        assert_eq!((tally.closed::<Tcp>(), tally.memory::<Tcp>()), (0, 0));
        // It was never bound, so it is freed at once.
        drop(sk);
        assert_eq!((tally.count(), tally.closed::<Udp>()), (0, 0));
        Ok(())
    }

    #[test]
    fn user_data_of_others_stays() -> Result {
        let tally = Arc::new(Tally::new(), GFP_KERNEL)?;
        let mut socket = stream()?;
        socket.count_in(&tally)?;

        let sk: ARef<Sock> = socket.sk().into();
        let theirs = (&raw const *tally).cast_mut().cast::<c_void>();
        // SAFETY: The socket is valid, and nothing else uses it.
        unsafe { (*sk.as_raw()).sk_user_data = theirs };
        drop(socket);
        // SAFETY: As above.
        assert_eq!(unsafe { (*sk.as_raw()).sk_user_data }, theirs);
        assert_eq!(tally.count(), 0);
        Ok(())
    }

    #[test]
    fn our_own_callbacks_are_not_the_original_ones() -> Result {
        let listener = listener()?;
        // From now on it is known which callbacks TCP sets.
        let _bells = Bells::on(&listener, 0)?;
        let socket = stream()?;
        let sk = socket.sk().as_raw();

        // BPF has saved the callbacks that a listener had given to the socket, and puts them back.
        // SAFETY: The socket is valid, and these callbacks suit each socket.
        unsafe {
            bindings::sk_callback_write_lock_bh(sk);
            RawCallbacks::OURS.set(sk);
            bindings::sk_callback_write_unlock_bh(sk);
        }
        let bells = Bells::on(&socket, 1)?;
        // SAFETY: The socket is valid, and nothing changes its callbacks.
        if let Some(state_change) = unsafe { (*sk).sk_state_change } {
            // SAFETY: TCP calls this in the same way.
            unsafe { state_change(sk) };
        }
        bells.state.wait_for_completion();
        socket.clear_callbacks();
        listener.clear_callbacks();
        Ok(())
    }
}
