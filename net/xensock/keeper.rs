// SPDX-License-Identifier: GPL-2.0

//! Objects that a module keeps in statics while it is loaded.

use kernel::sync::{
    Arc,
    GlobalArc, //
};

/// Keeps an object in a static. Dropping it takes the object out, and may sleep.
pub(crate) struct Keeper<T: 'static>(&'static GlobalArc<T>);

impl<T> Keeper<T> {
    /// Puts an object into a static. May sleep.
    pub(crate) fn new(place: &'static GlobalArc<T>, object: Arc<T>) -> Self {
        place.set(object);
        Self(place)
    }
}

impl<T> Drop for Keeper<T> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}
