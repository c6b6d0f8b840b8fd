// SPDX-License-Identifier: GPL-2.0

//! Responses that nobody waits for and those that somebody does, under every interleaving and every
//! reordering that the memory model allows.
//!
//! A program sends requests. A backend answers them, and notifies if it was asked to. A handler takes
//! the answers out when that comes. The wishes are those of `proto::attention`; the ring is that of
//! `rust/kernel/xen/ring.rs`, without its slots. An answer that somebody waits for and nobody takes out
//! is a deadlock, which `loom` reports. Tests that must fail show that the model would notice.

use std::sync::{
    atomic::AtomicU32 as Count,
    Arc, //
};

use loom::{
    sync::{
        atomic::{
            fence,
            AtomicU32,
            Ordering, //
        },
        Mutex,
        Notify, //
    },
    thread,
};
use xensock_hosttest::proto::attention::{
    Responses,
    Attention, //
};

/// How often the scheduler may take a thread away where it would go on.
const PREEMPTIONS: usize = 2;

/// How a run goes.
#[derive(Clone, Copy)]
struct Run {
    /// For each request, whether somebody waits for its answer.
    requests: &'static [bool],
    /// Somebody looks for answers in between, as the link does after a while.
    looks: bool,
    /// The barriers are there.
    barriers: bool,
    /// Who waits says so.
    says: bool,
}

impl Run {
    const NORMAL: Self = Self {
        requests: &[false, true],
        looks: false,
        barriers: true,
        says: true,
    };
}

/// The words of the page.
struct Page {
    run: Run,
    req_prod: AtomicU32,
    rsp_prod: AtomicU32,
    rsp_event: AtomicU32,
}

impl Page {
    fn full_barrier(&self) {
        if self.run.barriers {
            fence(Ordering::SeqCst);
        }
    }
}

/// The frontend's end, and what it knows.
struct Ring {
    page: Arc<Page>,
    rsp_cons: u32,
    sent: u32,
    attention: Attention,
}

impl Ring {
    /// How many are due before the first that somebody waits for.
    fn ahead(&self) -> Option<u32> {
        let requests = self.page.run.requests;
        let unanswered = &requests[self.rsp_cons as usize..self.sent as usize];
        let ahead = unanswered.iter().position(|is_awaited| *is_awaited);
        ahead
            .filter(|_| self.page.run.says)
            .map(|ahead| ahead as u32)
    }

    fn note(&mut self) {
        let mut attention = std::mem::take(&mut self.attention);
        attention.set_awaited(self.ahead(), self);
        self.attention = attention;
    }

    /// Takes an answer out. If there is none, the taking has ended.
    fn next_response(&mut self) -> Option<u32> {
        loop {
            if self.page.rsp_prod.load(Ordering::Acquire) != self.rsp_cons {
                self.rsp_cons += 1;
                // As who takes an answer sends what its slot makes room for.
                self.note();
                return Some(self.rsp_cons);
            }
            let mut attention = std::mem::take(&mut self.attention);
            let has_response = attention.look_again(self.ahead(), self);
            self.attention = attention;
            if has_response != Ok(true) {
                return None;
            }
        }
    }
}

impl Responses for Ring {
    type Error = ();

    fn request_event_after(&mut self, skip: u32) {
        let event = self.rsp_cons + skip + 1;
        self.page.rsp_event.store(event, Ordering::Relaxed);
        self.page.full_barrier();
    }

    fn request_no_event(&mut self) {
        let cons = self.rsp_cons;
        self.page.rsp_event.store(cons, Ordering::Relaxed);
    }

    fn final_check_after(&mut self, skip: u32) -> Result<bool, ()> {
        self.request_event_after(skip);
        Ok(self.page.rsp_prod.load(Ordering::Relaxed) != self.rsp_cons)
    }
}

struct Link {
    page: Arc<Page>,
    ring: Mutex<Ring>,
    request: Notify,
    event: Notify,
    /// How many answers were passed on, in their order: not what anybody sees.
    heard: Count,
}

impl Link {
    fn new(run: Run) -> Self {
        let page = Arc::new(Page {
            run,
            req_prod: AtomicU32::new(0),
            rsp_prod: AtomicU32::new(0),
            rsp_event: AtomicU32::new(1),
        });
        let ring = Ring {
            page: page.clone(),
            rsp_cons: 0,
            sent: 0,
            attention: Attention::new(),
        };
        Self {
            page,
            ring: Mutex::new(ring),
            request: Notify::new(),
            event: Notify::new(),
            heard: Count::new(0),
        }
    }

    fn count(&self) -> u32 {
        self.page.run.requests.len() as u32
    }

    fn is_over(&self) -> bool {
        self.heard.load(Ordering::SeqCst) == self.count()
    }

    fn take_responses(&self) {
        if !self.ring.lock().unwrap().attention.begin_taking() {
            return;
        }
        loop {
            let answer = self.ring.lock().unwrap().next_response();
            let Some(answer) = answer else { return };
            // Outside the lock.
            let before = self.heard.fetch_add(1, Ordering::SeqCst);
            assert_eq!(before + 1, answer, "not in their order");
            if self.is_over() {
                self.event.notify();
            }
        }
    }

    fn handle(&self) {
        while !self.is_over() {
            self.event.wait();
            self.take_responses();
        }
    }

    fn answer(&self) {
        for number in 1..=self.count() {
            while self.page.req_prod.load(Ordering::Acquire) < number {
                self.request.wait();
            }
            self.page.rsp_prod.store(number, Ordering::Release);
            self.page.full_barrier();
            if self.page.rsp_event.load(Ordering::Relaxed) == number {
                self.event.notify();
            }
        }
    }

    fn send(&self) {
        for number in 1..=self.count() {
            {
                let mut ring = self.ring.lock().unwrap();
                ring.sent = number;
                ring.note();
                self.page.req_prod.store(number, Ordering::Release);
            }
            self.request.notify();
            if self.page.run.looks {
                self.take_responses();
            }
        }
    }
}

/// Tries everything.
fn check(run: Run) {
    check_within(PREEMPTIONS, run);
}

/// Tries everything, with as many preemptions: each more multiplies the time.
fn check_within(preemptions: usize, run: Run) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(move || {
        let link = Arc::new(Link::new(run));
        let backend = {
            let link = link.clone();
            thread::spawn(move || link.answer())
        };
        let handler = {
            let link = link.clone();
            thread::spawn(move || link.handle())
        };
        link.send();
        backend.join().unwrap();
        handler.join().unwrap();
    });
}

#[test]
fn an_answer_that_is_awaited_is_heard() {
    check(Run::NORMAL);
}

#[test]
fn those_before_it_are_heard_in_their_order() {
    let run = Run {
        requests: &[false, false, true],
        ..Run::NORMAL
    };
    check_within(1, run);
}

#[test]
fn who_looks_in_between_leaves_none() {
    let run = Run {
        requests: &[true, true],
        looks: true,
        ..Run::NORMAL
    };
    check_within(1, run);
}

#[test]
#[should_panic(expected = "deadlock")]
fn would_notice_that_nobody_says_he_waits() {
    check(Run {
        says: false,
        ..Run::NORMAL
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn would_notice_a_missing_barrier() {
    check(Run {
        requests: &[true, true],
        barriers: false,
        ..Run::NORMAL
    });
}
