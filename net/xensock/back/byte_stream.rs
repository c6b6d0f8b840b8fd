// SPDX-License-Identifier: GPL-2.0

//! The two directions of a connection: between the data ring and the TCP socket.
//!
//! Each byte is copied once, by TCP, from or to the pages of the ring.

use crate::{
    conn_ring::ConnRing,
    fast_path::FastPath,
    guest::Guest,
    outcome_report::OutcomeReport,
    proto::{
        errno::Ending,
        ring::Violation,
        urgent::NextBytes,
        Feature, //
    },
    pump::Progress,
    socket::GuestSocket,
    urgent::Urgent, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        kernel_socket::Tcp,
        sock::{
            Shutdown,
            ShutdownMask,
            TcpState, //
        },
        socket::How, //
    },
    prelude::*,
    sync::Arc,
    xen::trace::xensock_back as trace, //
};

/// How often both directions are gone through before other work has its turn.
const BUDGET: u32 = 32;

/// A connection, or the attempt to make one: its socket, and what it shares with the guest.
pub(crate) struct ByteStream {
    /// What the guest calls it.
    id: u64,
    path: Arc<FastPath>,
    /// CONNECT and its peer, until the guest is told what became of it.
    connecting: Option<(OutcomeReport, SocketAddr)>,
    /// Why the connection has failed.
    failure: Option<Error>,
    /// What the guest has shut down, and what was shut down of it.
    wanted_shut: ShutdownMask,
    shut: ShutdownMask,
    has_ended_in: bool,
    has_ended_out: bool,
    /// If the link has them.
    urgent: Option<Urgent>,
}

impl ByteStream {
    /// By `path`, whose socket has callbacks. `connecting` is a CONNECT that is not decided yet.
    pub(crate) fn new(
        guest: &Guest,
        id: u64,
        path: Arc<FastPath>,
        connecting: Option<(OutcomeReport, SocketAddr)>,
    ) -> Self {
        Self {
            id,
            path,
            connecting,
            failure: None,
            wanted_shut: ShutdownMask::default(),
            shut: ShutdownMask::default(),
            has_ended_in: false,
            has_ended_out: false,
            urgent: guest.transport.has(Feature::Urgent).then(Urgent::default),
        }
    }

    /// Ends it: no more callbacks, and the end of the TCP connection. Returns what is shared with the
    /// guest, which goes last; but a connection that does not stand yet has failed with `error`, and
    /// shares nothing any more. Sleeps.
    ///
    /// The peer sees a reset if `abort` is set, if the guest has not taken all that it has got, if
    /// not all goes that it has still to send, or if too many sockets that were closed are left
    /// already.
    pub(crate) fn end(mut self, guest: &Guest, abort: bool, error: Error) -> Option<Arc<ConnRing>> {
        let shared = self.path.shared.clone();
        let has_unread = shared.ring.writable() != Ok(shared.ring.tx_size());
        if abort || has_unread || !self.send_rest() || !self.may_linger(guest) {
            self.socket().tcp().set_linger_abort();
        }
        self.socket().tcp().clear_callbacks();
        drop(self.path);
        match self.connecting {
            Some((completion, peer)) => {
                let to = guest.transport.peer();
                trace::connect(to, self.id, None, peer, Err(error));
                completion.fail(&guest.transport, shared, error);
                None
            }
            None => Some(shared),
        }
    }

    /// Returns whether TCP may go on with the socket when it is closed.
    fn may_linger(&self, guest: &Guest) -> bool {
        let socket = self.socket();
        guest.may_linger(socket.tenant().number(), socket.tenant().held().closed())
    }

    /// Returns what it shares with the guest.
    pub(crate) fn shared(&self) -> &ConnRing {
        &self.path.shared
    }

    fn socket(&self) -> &GuestSocket<Tcp> {
        &self.path.socket
    }

    /// Returns whether there is nothing but bytes, for now.
    pub(crate) fn is_plain(&self) -> bool {
        self.connecting.is_none()
            && self.failure.is_none()
            // An end that has come waits for room.
            && !self.has_peer_ended()
            && self.shut == self.wanted_shut
            && !self.shut.contains(Shutdown::Send)
            && self.shared().is_settled()
    }

    /// Looks whether the connection stands by now that CONNECT has begun, and if so says it in the
    /// ring. Returns whether the guest has to be notified of that. An error is what became of CONNECT.
    pub(crate) fn establish(&mut self, guest: &Guest) -> Result<bool> {
        let Some((completion, peer)) = self.connecting else {
            return Ok(false);
        };
        match self.socket().tcp().tcp_state() {
            TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv => return Ok(false),
            TcpState::Close => {
                let error = self.socket().tcp().take_error();
                // It is told once, and this may be the second look.
                let error = *self.failure.get_or_insert(error.unwrap_or(ECONNREFUSED));
                return Err(error);
            }
            _ => (),
        }
        let name = self.socket().tcp().local_addr()?;
        self.connecting = None;
        let to = guest.transport.peer();
        trace::connect(to, self.id, Some(name), peer, Ok(()));
        Ok(completion.succeed(&guest.transport, self.shared(), name))
    }

    /// Moves what can be moved. `shut` is what the guest has shut down: it was read before, and so
    /// all that the guest had sent until then is there to be sent.
    pub(crate) fn progress(
        &mut self,
        guest: &Guest,
        shut: ShutdownMask,
    ) -> Result<Progress, Violation> {
        self.wanted_shut = shut;
        match self.establish(guest) {
            Ok(true) => self.shared().notifier.notify(),
            Ok(false) if self.connecting.is_some() => return Ok(Progress::Idle),
            Ok(false) => (),
            Err(error) => {
                return Ok(Progress::Failed {
                    abort: false,
                    error,
                })
            }
        }
        // A reset that neither direction would run into now, being full or empty.
        if let Some(error) = self.socket().tcp().take_error() {
            self.fail(error);
        }
        for _ in 0..BUDGET {
            let has_received = self.receive()?;
            let has_sent = self.transmit()?;
            self.socket().note_memory();
            if !has_received && !has_sent {
                self.shut_down(shut)?;
                self.end_out();
                return Ok(Progress::Idle);
            }
        }
        Ok(Progress::Busy)
    }

    /// Shuts the socket down, in each direction once, if nothing is left to be sent.
    fn shut_down(&mut self, directions: ShutdownMask) -> Result<(), Violation> {
        if self.shut == directions || self.failure.is_some() || self.shared().ring.readable()? != 0
        {
            return Ok(());
        }
        for (direction, how) in [(Shutdown::Send, How::Write), (Shutdown::Recv, How::Read)] {
            if directions.contains(direction) && !self.shut.contains(direction) {
                // It fails if the connection has ended meanwhile, of which there are other signs.
                let _ = self.socket().tcp().shutdown(how);
            }
        }
        self.shut = directions;
        Ok(())
    }

    /// Moves bytes from the socket to `in`. Returns whether there may be more.
    fn receive(&mut self) -> Result<bool, Violation> {
        if self.has_ended_in {
            return Ok(false);
        }
        let ring = &self.path.shared.ring;
        let mut room = ring.writable()?;
        if room == 0 {
            ring.expect_room(ring.tx_size() / 4);
            room = ring.writable()?;
            if room == 0 {
                self.tell_urgent(0);
                return Ok(false);
            }
        }
        match ring.with_writable(0, room, |vecs| self.socket().tcp().recv(vecs)) {
            // After a shutdown that is all there is to read, while the peer may not have ended yet.
            Ok(0) if self.failure.is_none() && !self.has_peer_ended() => (),
            Ok(0) => self.end_in(),
            Ok(n) => {
                // CAST: No more than `room`.
                let n = n as u32;
                self.tell_urgent(n);
                if self.shared().ring.produce(n) {
                    self.shared().notifier.notify();
                }
                return Ok(true);
            }
            Err(EAGAIN) => self.tell_urgent(0),
            Err(error) => {
                self.fail(error);
                self.end_in();
            }
        }
        Ok(false)
    }

    /// Tells the guest of an urgent byte, before the last `len` bytes are produced.
    fn tell_urgent(&mut self, len: u32) {
        if let Some(urgent) = &mut self.urgent {
            urgent.tell(self.path.socket.tcp(), &self.path.shared, len);
        }
    }

    /// Moves bytes from `out` to the socket. Returns whether there may be more.
    fn transmit(&mut self) -> Result<bool, Violation> {
        // What comes after the end is not looked at.
        if self.failure.is_some() || self.shut.contains(Shutdown::Send) {
            return Ok(false);
        }
        let ring = &self.path.shared.ring;
        let mut len = ring.readable()?;
        if len == 0 {
            ring.expect_data();
            len = ring.readable()?;
            if len == 0 {
                return Ok(false);
            }
        }
        let piece = match &mut self.urgent {
            Some(urgent) => {
                let piece = urgent.piece(&self.path.shared, len);
                self.path.set_urgent_done(urgent.done());
                piece
            }
            None => NextBytes::all(len),
        };
        let sent = ring.with_readable(0, piece.len, |from| {
            if piece.is_urgent {
                self.socket().tcp().send_urgent(from)
            } else {
                self.socket().tcp().send(from)
            }
        });
        match sent {
            Ok(n) => {
                // CAST: No more than `len`.
                if ring.consume(n as u32) {
                    self.shared().notifier.notify();
                }
                return Ok(n > 0);
            }
            Err(EAGAIN) => (),
            Err(error) => self.fail(error),
        }
        Ok(false)
    }

    /// Sends what is left in `out`: a frontend of PV Calls may not have waited for that. Returns
    /// whether nothing remains that would have to be sent.
    fn send_rest(&mut self) -> bool {
        for _ in 0..BUDGET {
            match self.transmit() {
                Ok(true) => (),
                Ok(false) => break,
                Err(Violation) => return false,
            }
        }
        self.shut.contains(Shutdown::Send) || self.shared().ring.readable() == Ok(0)
    }

    /// The connection has failed, for the reason that counts: the first.
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Tells the guest that it can send nothing more, once that is so.
    ///
    /// Comes after what was received, as far as there was room for it: whoever learns of a reset
    /// here finds it there too.
    fn end_out(&mut self) {
        if self.has_ended_out {
            return;
        }
        let ending = if let Some(error) = self.failure {
            Ending::Failed(-error.to_errno())
        } else if self.is_acknowledged() {
            Ending::Orderly
        } else {
            return;
        };
        self.has_ended_out = true;
        self.shared().ring.end_rx(ending);
        self.shared().notifier.notify();
    }

    /// Returns whether the peer has got all that the guest has sent, and the end of it.
    fn is_acknowledged(&self) -> bool {
        if !self.shut.contains(Shutdown::Send) {
            return false;
        }
        match self.socket().tcp().tcp_state() {
            TcpState::FinWait2 | TcpState::TimeWait => true,
            // After an error, too; then it is pending, and the callback for it is on its way.
            TcpState::Close => !self.socket().tcp().has_error(),
            _ => false,
        }
    }

    /// Returns whether the peer has said that it will send nothing more, or the connection is over.
    fn has_peer_ended(&self) -> bool {
        !matches!(
            self.socket().tcp().tcp_state(),
            TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2
        )
    }

    /// The peer will send nothing more, and all that it has sent is in the ring.
    fn end_in(&mut self) {
        self.has_ended_in = true;
        self.shared().ring.end_tx(match self.failure {
            // A reset that comes after the end of the peer's stream, for TCP that is EPIPE, is
            // none of what is received.
            None | Some(EPIPE) => Ending::Orderly,
            Some(error) => Ending::Failed(-error.to_errno()),
        });
        self.shared().notifier.notify();
    }
}
