// SPDX-License-Identifier: GPL-2.0

//! Tests of both ends: entries arrive unchanged, and an end detects a peer that breaks the rules.

use super::*;

use crate::{
    page,
    xen::shared::PageFrame, //
};

use core::ptr::NonNull;

type Front<'a> = FrontRing<&'a SharedPages>;
type Back<'a> = BackRing<&'a SharedPages>;

/// Calls `f` with a page that is not shared with another domain.
fn with_page(f: impl FnOnce(&SharedPages) -> Result) -> Result {
    let page = page::Page::alloc_page(GFP_KERNEL)?;
    let mut shared = SharedPages::with_capacity(1, GFP_KERNEL)?;

    // SAFETY: `page` is valid, is not in high memory, outlives `shared`, and is accessed only
    // through `shared`.
    unsafe { shared.push(PageFrame::new(NonNull::new(page.as_ptr()).ok_or(ENOMEM)?)?)? };
    f(&shared)
}

fn word(page: &SharedPages, word: Word) -> u32 {
    page.word(word as usize)
        .map_or(!0, |word| word.load(Relaxed))
}

fn set(page: &SharedPages, word: Word, value: u32) {
    if let Ok(word) = page.word(word as usize) {
        word.store(value, Relaxed);
    }
}

fn request(n: u32) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..4].copy_from_slice(&n.to_ne_bytes());
    slot
}

/// Creates both ends, with all indexes at `start`.
fn pair(page: &SharedPages, start: u32) -> Result<(Front<'_>, Back<'_>)> {
    let mut front = Front::new(page)?;
    let mut back = Back::new(page)?;

    (front.req_prod_pvt, front.req_prod, front.rsp_cons) = (start, start, start);
    (back.rsp_prod_pvt, back.rsp_prod, back.req_cons) = (start, start, start);
    set(page, Word::ReqProd, start);
    set(page, Word::RspProd, start);
    set(page, Word::ReqEvent, start.wrapping_add(1));
    set(page, Word::RspEvent, start.wrapping_add(1));
    Ok((front, back))
}

#[macros::kunit_tests(rust_xen_ring)]
mod tests {
    use super::*;

    /// Entries arrive unchanged and in order, also where the indexes wrap.
    #[test]
    fn round_trips() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, 0u32.wrapping_sub(40))?;

            for n in 0..200 {
                for i in 0..1 + n % SLOTS {
                    front.push(&request(n + i))?;
                }
                assert!(front.publish());
                assert!(!front.publish());
                for i in 0..1 + n % SLOTS {
                    assert_eq!(back.pop()?, Some(request(n + i)));
                    back.push(&request(n + i)[..24])?;
                }
                assert_eq!(back.pop()?, None);
                assert!(!back.final_check()?);
                assert!(back.publish());
                for i in 0..1 + n % SLOTS {
                    assert_eq!(front.pop()?, Some(request(n + i)));
                }
                assert_eq!(front.pop()?, None);
                assert!(!front.final_check()?);
            }
            Ok(())
        })
    }

    /// The peer is notified only if it has requested an event.
    #[test]
    fn notifies() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, !0)?;

            front.push(&request(1))?;
            assert!(front.publish());
            front.push(&request(2))?;
            assert!(!front.publish());
            assert!(back.pop()?.is_some());
            assert!(back.final_check()?);
            assert!(back.pop()?.is_some());
            assert!(!back.final_check()?);
            front.push(&request(3))?;
            assert!(front.publish());
            Ok(())
        })
    }

    /// The frontend is notified of a response after others, or of none at all.
    #[test]
    fn expects() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, !0)?;

            for n in 0..6 {
                front.push(&request(n))?;
            }
            front.request_event_after(2);
            assert!(front.publish());
            for _ in 0..6 {
                assert!(back.pop()?.is_some());
            }
            back.push(&[])?;
            back.push(&[])?;
            assert!(!back.publish());
            back.push(&[])?;
            assert!(back.publish());
            // No further event until the frontend requests one.
            back.push(&[])?;
            assert!(!back.publish());
            assert!(front.final_check_after(1)?);
            for _ in 0..4 {
                assert!(front.pop()?.is_some());
            }
            assert!(!front.final_check_after(1)?);
            front.request_no_event();
            back.push(&[])?;
            back.push(&[])?;
            assert!(!back.publish());
            assert!(front.final_check_after(0)?);
            // More responses than requests.
            set(page, Word::RspProd, 9);
            assert_eq!(front.final_check_after(0), Err(EPROTO));
            Ok(())
        })
    }

    /// Neither end puts in more than there is room for.
    #[test]
    fn full() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, 7)?;

            for n in 0..SLOTS {
                assert!(!front.is_full());
                front.push(&request(n))?;
            }
            assert!(front.is_full());
            assert_eq!(front.push(&request(0)), Err(ENOSPC));
            // Nothing is visible before `publish()`.
            assert_eq!(back.pop()?, None);
            assert_eq!(back.push(&[]), Err(EINVAL));
            assert!(front.publish());
            assert!(back.pop()?.is_some());
            assert_eq!(back.push(&[0; SLOT + 1]), Err(EINVAL));
            back.push(&[])?;
            assert!(back.publish());
            assert!(front.is_full());
            assert!(front.pop()?.is_some());
            assert!(!front.is_full());
            Ok(())
        })
    }

    /// The backend rejects impossible indexes.
    #[test]
    fn hostile_frontend() -> Result {
        with_page(|page| {
            let (mut front, mut back) = pair(page, 100)?;

            set(page, Word::ReqProd, 100 + SLOTS + 1);
            assert_eq!(back.pop(), Err(EPROTO));
            assert_eq!(back.final_check(), Err(EPROTO));

            // An index before requests that were taken out already.
            front.push(&request(1))?;
            front.push(&request(2))?;
            let _ = front.publish();
            assert!(back.pop()?.is_some());
            assert!(back.pop()?.is_some());
            set(page, Word::ReqProd, 101);
            assert_eq!(back.pop(), Err(EPROTO));

            // As many requests as slots, although two requests have no response yet.
            set(page, Word::ReqProd, 102 + SLOTS);
            assert_eq!(back.pop(), Err(EPROTO));
            set(page, Word::ReqProd, 100 + SLOTS);
            assert!(back.pop()?.is_some());

            // Overwriting the backend's index has no effect.
            set(page, Word::RspProd, 0xdead);
            back.push(&[])?;
            let _ = back.publish();
            assert_eq!(word(page, Word::RspProd), 101);
            Ok(())
        })
    }

    /// The frontend rejects impossible indexes.
    #[test]
    fn hostile_backend() -> Result {
        with_page(|page| {
            let (mut front, _) = pair(page, 0)?;

            // Responses without a request, and to a request that is not visible yet.
            set(page, Word::RspProd, 1);
            assert_eq!(front.pop(), Err(EPROTO));
            front.push(&request(1))?;
            assert_eq!(front.pop(), Err(EPROTO));
            let _ = front.publish();
            assert!(front.pop()?.is_some());
            set(page, Word::RspProd, 0);
            assert_eq!(front.pop(), Err(EPROTO));
            assert_eq!(front.final_check(), Err(EPROTO));
            Ok(())
        })
    }
}
