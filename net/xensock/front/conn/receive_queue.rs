// SPDX-License-Identifier: GPL-2.0

//! What has come for a datagram socket: whole frames, in their order.
//!
//! Each frame is looked at when it comes, because an error has to be told at once, whatever is
//! unread before it. Who receives looks at its header anew, and goes by that: the backend may have
//! changed it meanwhile.

use super::Conn;
use crate::{
    addresses::any,
    commands::wire_error,
    conn_ring::Granted,
    proto::{
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
    net::sock::{
        NetworkError,
        Sock, //
    },
    prelude::*,
    sync::ArcBorrow, //
};

/// What is known of the frames that have come.
#[derive(Default)]
pub(super) struct ReceiveQueue {
    /// Bytes of the frames that were looked at and are not consumed.
    known: u32,
    /// How many of these frames are datagrams.
    datagrams: u32,
}

/// What has come since the last look.
#[derive(Default)]
struct Arrival {
    has_datagram: bool,
    error: Option<Error>,
    /// The last frame that was looked at; there may be more.
    report: Option<Reported>,
}

/// An error with more than its number.
struct Reported {
    report: Report,
    /// Where the datagram was sent to.
    to: Option<SocketAddr>,
    /// What came back of it; nothing, if there is no memory.
    payload: KVec<u8>,
}

/// The backend has broken a rule.
struct Broken;

/// A datagram that waits to be received.
pub(crate) struct QueuedDatagram {
    /// Bytes of its payload.
    pub(crate) len: u32,
    /// Whom it is from; the peer of the socket, if that is not said.
    pub(crate) from: Option<SocketAddr>,
    /// Whether more than that is said of it.
    has_info: bool,
    /// Bytes of the frames before it.
    before: u32,
    /// Bytes of its payload that the program does not look at.
    pub(crate) skip: u32,
    /// Bytes of the whole frame.
    frame: u32,
}

impl QueuedDatagram {
    /// Returns where the payload that the program looks at begins, from the first frame on.
    pub(crate) fn payload(&self) -> u32 {
        payload_at(self.has_info) + self.before + self.skip
    }
}

impl ReceiveQueue {
    /// Looks at the frames that have come, up to a report, and asks to be notified of the next. They
    /// may have an [`Info`] if that is so on the link.
    fn look(&mut self, ring: &DataRing<Granted>, may_have_info: bool) -> Result<Arrival, Broken> {
        let mut news = Arrival::default();

        ring.expect_data();
        // Nothing is consumed while we are looking: that takes the lock of this queue.
        let queued = ring.readable().map_err(|_| Broken)?;
        loop {
            let left = queued.checked_sub(self.known).ok_or(Broken)?;
            if left == 0 {
                return Ok(news);
            }
            let at = self.known;
            let (frame, len) = frame_at(ring, at, left)?;
            self.known = self.known.wrapping_add(len);
            match frame {
                Frame::Data { has_info, .. } => {
                    if has_info && (!may_have_info || info_at(ring, at).is_err()) {
                        return Err(Broken);
                    }
                    self.datagrams = self.datagrams.wrapping_add(1);
                    news.has_datagram = true;
                }
                Frame::Error(number) => news.error = Some(wire_error(number)),
                Frame::Report { len, addr } => {
                    if !may_have_info {
                        return Err(Broken);
                    }
                    let report = report_at(ring, at)?;
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

    /// Forgets the first frame, which is being consumed.
    fn forget(&mut self, frame: u32, is_datagram: bool) {
        self.known = self.known.saturating_sub(frame);
        self.datagrams = match self.known {
            // Also if the backend has made one kind of the other meanwhile.
            0 => 0,
            _ => self.datagrams.saturating_sub(u32::from(is_datagram)),
        };
    }
}

/// Reads the header `skip` bytes past the first, where `queued` bytes are; also the frame's length.
fn frame_at(ring: &DataRing<Granted>, skip: u32, queued: u32) -> Result<(Frame, u32), Broken> {
    let mut header = [0; HEADER];

    // What is behind the queued bytes may be read, and is not believed.
    ring.read(skip, &mut header).map_err(|_| Broken)?;
    Frame::decode(&header, queued).map_err(|_| Broken)
}

/// Reads what is said of the datagram whose frame is `skip` bytes past the first.
fn info_at(ring: &DataRing<Granted>, skip: u32) -> Result<Info, Broken> {
    let mut block = [0; info::LEN];

    ring.read(skip + payload_at(false), &mut block)
        .map_err(|_| Broken)?;
    Info::decode(&block).map_err(|_| Broken)
}

/// Reads what is said of an error whose frame is `skip` bytes past the first.
fn report_at(ring: &DataRing<Granted>, skip: u32) -> Result<Report, Broken> {
    let mut block = [0; info::LEN];

    ring.read(skip + payload_at(false), &mut block)
        .map_err(|_| Broken)?;
    Report::decode(&block).map_err(|_| Broken)
}

/// Reads what came back of a datagram, as far as it matters.
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
    /// Looks at what the backend has done, and tells the socket. Any context.
    pub(crate) fn take_in(this: ArcBorrow<'_, Self>) {
        let (ending, looked) = {
            let state = this.state.lock();
            if !state.is_open() {
                return;
            }
            // The endings first: what came before them is seen with them.
            let endings = [this.ring.tx_ending(), this.ring.rx_ending()];
            let ending = endings.into_iter().find(|e| *e != Ending::Open);
            (ending, this.tell_queued(&state.sk))
        };
        match (looked, ending) {
            (Err(Broken), _) => Self::broken(this),
            (Ok(()), None) => (),
            (Ok(()), Some(ending)) => {
                let error = match ending {
                    Ending::Failed(errno) => wire_error(errno),
                    // There is no stream that could end.
                    Ending::Open | Ending::Orderly => ECONNABORTED,
                };
                Self::abort(this, error, c"the backend has ended the socket");
            }
        }
    }

    fn tell_queued(&self, sk: &Sock) -> Result<(), Broken> {
        if self.has_taken() {
            sk.write_space();
        }
        let may_have_info = self.remote.link.has(Feature::Info);
        loop {
            let news = self.receive_queue.lock().look(&self.ring, may_have_info)?;
            if let Some(error) = news.error {
                sk.set_error(error);
                sk.error_report();
            }
            if news.has_datagram {
                self.note_arrival(sk);
                sk.data_ready();
            }
            match news.report {
                Some(reported) => self.tell_reported(sk, &reported),
                None => return Ok(()),
            }
        }
    }

    /// Tells the socket of an error as UDP does. There may be no room for what is said of it.
    fn tell_reported(&self, sk: &Sock, reported: &Reported) {
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

    /// Returns whether there is a datagram. Any context.
    pub(crate) fn has_datagram(&self) -> bool {
        self.receive_queue.lock().datagrams > 0
    }

    /// Returns whether there is a frame, which may be an error that was told. Any context.
    pub(crate) fn has_frame(&self) -> bool {
        self.receive_queue.lock().known > 0
    }

    /// Returns how many bytes the frames have that have come. Any context.
    pub(crate) fn known(&self) -> u32 {
        self.receive_queue.lock().known
    }

    /// Returns the datagram that has come first. What is before it are errors that were told: they
    /// go. For the holder of `rx`.
    pub(crate) fn first_datagram(this: ArcBorrow<'_, Self>) -> Option<QueuedDatagram> {
        loop {
            let known = this.receive_queue.lock().known;
            if known == 0 {
                return None;
            }
            match frame_at(&this.ring, 0, known) {
                Ok((
                    Frame::Data {
                        len,
                        addr,
                        has_info,
                    },
                    frame,
                )) => {
                    return Some(QueuedDatagram {
                        len,
                        from: addr,
                        has_info,
                        before: 0,
                        skip: 0,
                        frame,
                    })
                }
                Ok((Frame::Error(_) | Frame::Report { .. }, frame)) => {
                    this.consume_frame(frame, false)
                }
                Err(Broken) => {
                    Self::broken(this);
                    return None;
                }
            }
        }
    }

    /// Returns the datagram with the byte that is `offset` bytes behind the first, for one who leaves
    /// it where it is. For the holder of `rx`.
    pub(crate) fn datagram_at(this: ArcBorrow<'_, Self>, offset: u32) -> Option<QueuedDatagram> {
        let mut queued = Self::first_datagram(this)?;
        let mut skip = offset;

        // Each turn passes a frame that has come: they end.
        while skip > 0 && skip >= queued.len {
            skip -= queued.len;
            loop {
                let before = queued.before.checked_add(queued.frame)?;
                let left = this.known().checked_sub(before).filter(|left| *left > 0)?;
                match frame_at(&this.ring, before, left) {
                    Ok((
                        Frame::Data {
                            len,
                            addr,
                            has_info,
                        },
                        frame,
                    )) => {
                        queued = QueuedDatagram {
                            len,
                            from: addr,
                            has_info,
                            before,
                            skip: 0,
                            frame,
                        };
                        break;
                    }
                    Ok((Frame::Error(_) | Frame::Report { .. }, frame)) => {
                        queued.before = before;
                        queued.frame = frame;
                    }
                    Err(Broken) => {
                        Self::broken(this);
                        return None;
                    }
                }
            }
        }
        Some(QueuedDatagram { skip, ..queued })
    }

    /// Returns what more is said of a datagram, if anything is, and makes sense. For the holder of
    /// `rx`.
    pub(crate) fn info_of(&self, queued: &QueuedDatagram) -> Option<Info> {
        let info = queued
            .has_info
            .then(|| info_at(&self.ring, queued.before))?;
        info.ok()
    }

    /// Gives the place of a datagram back to the backend. For the holder of `rx`.
    pub(crate) fn consume_datagram(&self, queued: &QueuedDatagram) {
        self.consume_frame(queued.frame, true);
    }

    fn consume_frame(&self, frame: u32, is_datagram: bool) {
        let notify = {
            let mut receive_queue = self.receive_queue.lock();
            receive_queue.forget(frame, is_datagram);
            self.ring.consume(frame)
        };
        if notify {
            self.notify();
        }
    }

    /// Makes room for what is to come, if it is taken by errors: whoever only sends never receives.
    pub(crate) fn drop_errors(this: ArcBorrow<'_, Self>) {
        let has_only_errors = {
            let receive_queue = this.receive_queue.lock();
            receive_queue.known > 0 && receive_queue.datagrams == 0
        };
        if has_only_errors {
            if let Some(_rx) = this.rx.try_lock() {
                let _ = Self::first_datagram(this);
            }
        }
    }
}
