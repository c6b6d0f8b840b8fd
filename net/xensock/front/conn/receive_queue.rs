// SPDX-License-Identifier: GPL-2.0

//! The received frames of a datagram socket, in order.
//!
//! Each frame is checked when it arrives, because an error has to be reported at once, ahead of
//! unread frames. A receiving task reads the frame's header anew and uses only that: the backend
//! may have changed it meanwhile.

mod queued_datagram;

use super::Conn;
use crate::{
    addresses::{
        any,
        is_of, //
    },
    commands::wire_error,
    conn_ring::Granted,
    proto::{
        arrivals::Arrivals,
        errno::Ending,
        frame::{
            payload_at,
            Frame,
            HEADER, //
        },
        info::{
            self,
            Info, //
        },
        report::{
            self,
            Origin,
            Report, //
        },
        Feature, //
    },
    ring::DataRing, //
};
use core::net::SocketAddr;
use kernel::{
    net::{
        addr::Domain,
        sock::{
            NetworkError,
            Sock,
            TcpState, //
        }, //
    },
    prelude::*,
    sync::{
        atomic::Relaxed,
        ArcBorrow, //
    }, //
};

/// Number of datagrams that arrive at once for which tasks are woken one by one.
const MAX_WAKES: u32 = 64;

/// The received frames that are not consumed.
#[derive(Default)]
pub(super) struct ReceiveQueue {
    /// Bytes in frames that were checked and are not consumed.
    known: u32,
    /// Number of datagrams among these frames.
    datagrams: u32,
    /// Bytes up to the end of the last empty datagram that a peek has returned. `SO_PEEK_OFF` passes
    /// these: they have no byte that the offset could count.
    peeked: u32,
    /// The times at which these frames have arrived, as far as the program has asked for them.
    arrivals: Arrivals,
}

/// The frames of one check.
#[derive(Default)]
struct Batch {
    /// Number of datagrams.
    datagrams: u32,
    error: Option<Error>,
    /// The last frame that was checked. More frames may follow.
    report: Option<Reported>,
}

/// An error with further information.
struct Reported {
    report: Report,
    /// Destination of the datagram.
    to: Option<SocketAddr>,
    /// Payload of the returned datagram; empty if there was no memory.
    payload: KVec<u8>,
}

/// The backend has broken a rule.
struct Broken;

impl ReceiveQueue {
    /// Returns the number of bytes that have yet to be checked, and asks for an event with the next
    /// frame after these.
    fn unchecked(&self, ring: &DataRing<Granted>) -> Result<u32, Broken> {
        // Before the look at the index: frames that come later bring the event.
        ring.expect_data();
        // Nothing is consumed meanwhile: consuming takes the lock of this queue.
        let queued = ring.readable().map_err(|_| Broken)?;
        queued.checked_sub(self.known).ok_or(Broken)
    }

    /// Checks the frames in the next `left` bytes, up to a report, and subtracts their lengths.
    /// Their addresses are to be of `domain`. Frames may have an [`Info`] block only if
    /// `may_have_info`.
    fn check_frames(
        &mut self,
        ring: &DataRing<Granted>,
        domain: Domain,
        left: &mut u32,
        may_have_info: bool,
    ) -> Result<Batch, Broken> {
        let mut news = Batch::default();

        loop {
            if *left == 0 {
                return Ok(news);
            }
            let at = self.known;
            let (frame, len) = frame_at(ring, domain, at, *left)?;
            *left = left.checked_sub(len).ok_or(Broken)?;
            self.known = self.known.wrapping_add(len);
            match frame {
                Frame::Data { has_info, .. } => {
                    if has_info && (!may_have_info || info_at(ring, domain, at).is_err()) {
                        return Err(Broken);
                    }
                    self.datagrams = self.datagrams.wrapping_add(1);
                    news.datagrams = news.datagrams.wrapping_add(1);
                }
                Frame::Error(number) => news.error = Some(wire_error(number)),
                Frame::Report { len, addr } => {
                    if !may_have_info {
                        return Err(Broken);
                    }
                    let report = report_at(ring, domain, at)?;
                    let payload = payload_of(ring, at, len);
                    news.report = Some(Reported {
                        report,
                        to: addr,
                        payload,
                    });
                    return Ok(news);
                }
            }
        }
    }

    /// Removes the first frame, which is being consumed.
    fn forget(&mut self, frame: u32, is_datagram: bool) {
        self.known = self.known.saturating_sub(frame);
        self.peeked = self.peeked.saturating_sub(frame);
        self.arrivals.forget(frame);
        self.datagrams = match self.known {
            // Also correct if the backend has changed the kind of a frame meanwhile.
            0 => 0,
            _ => self.datagrams.saturating_sub(u32::from(is_datagram)),
        };
    }
}

/// Reads the header `skip` bytes past the first, where `queued` bytes are. Returns the frame and
/// its length.
///
/// With UDP programs rely on the family of an address, which decides its length. So another family
/// is invalid, here and in the blocks.
fn frame_at(
    ring: &DataRing<Granted>,
    domain: Domain,
    skip: u32,
    queued: u32,
) -> Result<(Frame, u32), Broken> {
    let mut header = [0; HEADER];

    // Bytes behind the queued ones may be read here; the decoder does not use them.
    ring.read(skip, &mut header).map_err(|_| Broken)?;
    let (frame, len) = Frame::decode(&header, queued).map_err(|_| Broken)?;
    match is_of(domain, frame.addr()) {
        true => Ok((frame, len)),
        false => Err(Broken),
    }
}

/// Reads the [`Info`] block of the datagram whose frame is `skip` bytes past the first.
fn info_at(ring: &DataRing<Granted>, domain: Domain, skip: u32) -> Result<Info, Broken> {
    let mut block = [0; info::LEN];

    ring.read(skip + payload_at(false), &mut block)
        .map_err(|_| Broken)?;
    let info = Info::decode(&block).map_err(|_| Broken)?;
    let addrs = [&info.local, &info.destination];
    match addrs.iter().all(|addr| is_of(domain, addr.as_ref())) {
        true => Ok(info),
        false => Err(Broken),
    }
}

/// Reads the [`Report`] block of the error whose frame is `skip` bytes past the first.
fn report_at(ring: &DataRing<Granted>, domain: Domain, skip: u32) -> Result<Report, Broken> {
    let mut block = [0; info::LEN];

    ring.read(skip + payload_at(false), &mut block)
        .map_err(|_| Broken)?;
    let report = Report::decode(&block).map_err(|_| Broken)?;
    match is_of(domain, report.offender.as_ref()) {
        true => Ok(report),
        false => Err(Broken),
    }
}

/// Wakes a task for each of the datagrams that have arrived, as UDP does, or all tasks.
fn wake_receivers(sk: &Sock, datagrams: u32) {
    for _ in 0..datagrams.min(MAX_WAKES) {
        sk.data_ready();
    }
    if datagrams > MAX_WAKES {
        sk.wake_all();
    }
}

/// Reads the payload of a returned datagram, up to [`report::MAX_PAYLOAD`] bytes.
fn payload_of(ring: &DataRing<Granted>, skip: u32, len: u32) -> KVec<u8> {
    let len = len.min(report::MAX_PAYLOAD) as usize;
    let mut payload = KVec::new();

    let is_read = payload.resize(len, 0, GFP_ATOMIC).is_ok()
        && ring.read(skip + payload_at(true), &mut payload).is_ok();
    if !is_read {
        payload.clear();
    }
    payload
}

impl Conn {
    /// Looks at the backend's changes to the ring, and notifies the socket. Any context.
    pub(crate) fn queue_frames(this: ArcBorrow<'_, Self>) {
        let (ending, checked) = {
            let state = this.state.lock();
            if !state.is_open() {
                return;
            }
            // Read the endings first: all frames before an ending are seen then.
            let endings = [this.ring.tx_ending(), this.ring.rx_ending()];
            let ending = endings.into_iter().find(|e| *e != Ending::Open);
            (ending, this.notify_queued(&state.sk))
        };
        match (checked, ending) {
            (Err(Broken), _) => Self::broken(this),
            (Ok(()), None) => (),
            (Ok(()), Some(ending)) => {
                let error = match ending {
                    Ending::Failed(errno) => wire_error(errno),
                    // Datagram sockets have no stream that could end.
                    Ending::Open | Ending::Orderly => ECONNABORTED,
                };
                Self::abort(this, error, c"the backend has ended the socket");
            }
        }
    }

    fn notify_queued(&self, sk: &Sock) -> Result<(), Broken> {
        if self.has_taken() {
            sk.write_space();
        }
        let domain = self.remote.domain;
        let may_have_info = self.remote.link.has(Feature::Info);
        let wants_time = sk.wants_timestamp() || sk.keeps_timestamp();
        let now = wants_time.then(Sock::time_of_day);
        // Read once: a backend that goes on producing must not keep the handler busy.
        let mut left = self.receive_queue.lock().unchecked(&self.ring)?;
        loop {
            let news = {
                let mut queue = self.receive_queue.lock();
                let from = queue.known;
                let news = queue.check_frames(&self.ring, domain, &mut left, may_have_info)?;
                if let Some(now) = now {
                    let to = queue.known;
                    queue.arrivals.note(from, to, now);
                }
                news
            };
            if let Some(error) = news.error {
                self.handle_error(sk, error);
            }
            if news.datagrams > 0 {
                // As in UDP: without a peer, the CPU is the program's choice.
                if sk.state() == TcpState::Established {
                    sk.update_incoming_cpu();
                }
                wake_receivers(sk, news.datagrams);
            }
            match news.report {
                Some(reported) => self.queue_report(sk, &reported),
                None => return Ok(()),
            }
        }
    }

    /// Handles an error of a datagram that was sent before.
    ///
    /// Without a peer it is not the network's, see [`Self::queue_report`], but the result of sending,
    /// which a program does not expect of other calls.
    fn handle_error(&self, sk: &Sock, error: Error) {
        if sk.state() == TcpState::Established {
            sk.set_error(error);
            sk.error_report();
        } else {
            self.send_error.store(-error.to_errno(), Relaxed);
        }
    }

    /// Takes the error of a datagram sent before, if a call that sends has to return it.
    pub(crate) fn take_send_error(&self) -> Option<Error> {
        if self.send_error.load(Relaxed) == 0 {
            return None;
        }
        match self.send_error.xchg(0, Relaxed) {
            0 => None,
            number => Some(wire_error(number)),
        }
    }

    /// Reports an error to the socket as UDP does. The error queue may have no room for the
    /// details.
    fn queue_report(&self, sk: &Sock, reported: &Reported) {
        let (report, unknown) = (&reported.report, any(self.remote.domain));
        let error = wire_error(report.errno);
        let _ = sk.queue_error(&NetworkError {
            error,
            origin: report.origin as u8,
            kind: report.kind,
            code: report.code,
            info: report.info,
            data: report.data,
            offender: report.offender,
            to: reported.to.unwrap_or(unknown),
            payload: &reported.payload,
        });
        if report.origin != Origin::Local {
            sk.set_error(error);
            sk.error_report();
        }
    }

    /// Returns `true` if there is a datagram. Any context.
    pub(crate) fn has_datagram(&self) -> bool {
        self.receive_queue.lock().datagrams > 0
    }

    /// Returns `true` if there is a frame. It may be an error that was reported. Any context.
    pub(crate) fn has_frame(&self) -> bool {
        self.receive_queue.lock().known > 0
    }

    /// Returns the index up to which frames were checked. Any context.
    pub(crate) fn checked(&self) -> u32 {
        let queue = self.receive_queue.lock();
        self.ring.consumed().wrapping_add(queue.known)
    }
}
