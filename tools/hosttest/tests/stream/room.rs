// SPDX-License-Identifier: GPL-2.0

//! A program that waits for room while the memory shrinks.

use std::sync::Arc;

use loom::{
    sync::{
        Mutex,
        Notify, //
    },
    thread,
};

use crate::{
    private_word::Word,
    ring::{
        check_within,
        Run,
        Shared,
        LARGE,
        SIZE, //
    },
};

/// An end with a full ring: a program waits for room, and the handler serves the events.
struct Sender {
    shared: Arc<Shared<Word>>,
    /// Whether the program waits for room; held by those who ask for an event.
    wants_room: Mutex<bool>,
    /// The wait queue: the program is on it before it looks.
    asleep: Notify,
}

impl Sender {
    /// The room with which the program is woken.
    fn room_to_wake(&self) -> u32 {
        self.shared.producer.size() / 2
    }

    /// Asks for an event once there is room, and returns what there is.
    fn expect_room(&self) -> u32 {
        {
            let mut wants_room = self.wants_room.lock().unwrap();
            *wants_room = true;
            self.shared
                .producer
                .expect_room(&*self.shared, self.room_to_wake());
        }
        self.shared.producer.peek_room(&*self.shared)
    }

    /// Waits for room, as a program does that sends.
    fn wait(&self) {
        while self.expect_room() == 0 {
            self.asleep.wait();
        }
    }

    /// Wakes the program if there is room, or asks again.
    fn update(&self) {
        let mut wants_room = self.wants_room.lock().unwrap();
        let has_room = || self.shared.producer.peek_room(&*self.shared) >= self.room_to_wake();
        if !*wants_room {
            return;
        }
        if !has_room() {
            self.shared
                .producer
                .expect_room(&*self.shared, self.room_to_wake());
            if !has_room() {
                return;
            }
        }
        *wants_room = false;
        self.asleep.notify();
    }

    /// Takes all there is, as much as the base holds at a time.
    fn consume(&self) {
        let consumer = &self.shared.consumer;
        let mut consumed = 0;

        while consumed < LARGE {
            let len = consumer.ready(&*self.shared).unwrap().len.min(SIZE);
            consumed += len;
            if consumer.consume(&*self.shared, len) {
                self.update();
            }
        }
    }
}

/// The memory shrinks while a program waits. With `asks_again`, who changes it then asks for the
/// event anew. One preemption has to do: with two it takes a minute, and finds nothing more.
pub(crate) fn waits_while_it_shrinks(asks_again: bool) {
    check_within(1, move || {
        let shared = Shared::<Word>::new(Run::NORMAL);
        shared.consumer.extend(LARGE);
        assert!(shared.producer.change_to(&*shared, LARGE));
        assert_eq!(shared.consumer.ready(&*shared).unwrap().len, 0);
        let _ = shared.producer.publish(&*shared, LARGE);
        let sender = Arc::new(Sender {
            shared,
            wants_room: Mutex::new(false),
            asleep: Notify::new(),
        });
        let spawn = |run: fn(&Sender, bool)| {
            let sender = sender.clone();
            thread::spawn(move || run(&sender, asks_again))
        };

        let others = [
            spawn(|sender, _| sender.consume()),
            spawn(|sender, asks_again| {
                assert!(sender.shared.producer.change_to(&*sender.shared, SIZE));
                if asks_again {
                    sender.update();
                }
            }),
        ];
        sender.wait();
        for other in others {
            other.join().unwrap();
        }
    });
}
