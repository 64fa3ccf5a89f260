//! Bookmarks: who holds one, who may advance it (S9), and when an operator may change it.

use super::*;

const LOAD: &str = "customers/load";

fn acquire(n: u128, attempt: u32) -> PipelineCommand {
    PipelineCommand::AcquireBookmark {
        name: LOAD.to_owned(),
        step: name("load"),
        execution: execution(n),
        attempt,
    }
}

fn advance(n: u128, attempt: u32, sequence: u64, state: Value) -> PipelineCommand {
    PipelineCommand::AdvanceBookmark(Box::new(BookmarkAdvanced {
        name: LOAD.to_owned(),
        step: name("load"),
        execution: execution(n),
        attempt,
        sequence,
        state,
    }))
}

fn set(state: Value) -> PipelineCommand {
    PipelineCommand::SetBookmark { step: name("load"), state }
}

fn clear() -> PipelineCommand {
    PipelineCommand::ClearBookmark { step: name("load") }
}

/// Two open executions; the first holds the bookmark with its first attempt.
fn held() -> PipelineStory {
    let mut story = draft(&json!({"concurrency": {"executions": 2}}));
    (1..=2).for_each(|n| drop(story.does(start(n))));
    let acquired =
        BookmarkAcquired { name: LOAD.to_owned(), step: name("load"), execution: execution(1), attempt: 1 };
    assert_eq!(story.does(acquire(1, 1)), [acquired.into()]);
    story
}

fn state_of(story: &PipelineStory) -> Option<Value> {
    story.state.bookmarks.get(LOAD).and_then(|b| b.state.clone())
}

#[test]
fn the_holder_advances_it_in_order() {
    let mut story = held();
    assert_eq!(story.does(acquire(1, 1)), [], "it holds it already");
    for sequence in [1, 2, 5] {
        let events = story.does(advance(1, 1, sequence, json!({"row": sequence})));
        assert!(matches!(events.as_slice(), [PipelineEvent::BookmarkAdvanced(e)] if e.sequence == sequence));
        let bookmark = &story.state.bookmarks[LOAD];
        assert_eq!(bookmark.state, Some(json!({"row": sequence})));
        assert_eq!((bookmark.reached_by, bookmark.updated_at), (Some(execution(1)), story.now));
        assert_eq!(bookmark.version, story.state.version);
    }
    for sequence in [0, 4, 5] {
        let message = stale(story.refuses(advance(1, 1, sequence, json!({"row": 0}))));
        let expected = format!(
            "attempt 1 of step load does not hold bookmark customers/load, or state {sequence} came too late"
        );
        assert_eq!(message, expected);
    }
    assert_eq!(state_of(&story), Some(json!({"row": 5})));
}

#[test]
fn no_state_never_wipes_what_was_reached() {
    let mut story = held();
    story.does(advance(1, 1, 1, json!({"row": 1})));
    for empty in [Value::Null, json!({})] {
        assert_eq!(story.does(advance(1, 1, 2, empty)), []);
    }
    assert_eq!(state_of(&story), Some(json!({"row": 1})));
    assert_eq!(story.does(advance(1, 1, 2, json!({"row": 2}))).len(), 1);
}

#[test]
fn another_execution_waits_for_the_end_of_the_holder() {
    let mut story = held();
    let waits = Rejection::Wait(format!("bookmark {LOAD} is held by execution {}", execution(1)));
    assert_eq!(story.refuses(acquire(2, 1)), waits);
    stale(story.refuses(advance(2, 1, 9, json!({"row": 9}))));
    story.does(advance(1, 1, 1, json!({"row": 1})));
    story.does(complete(1));
    assert_eq!(story.state.bookmarks[LOAD].holder, None);
    assert_eq!(state_of(&story), Some(json!({"row": 1})), "the end frees it and keeps its state");
    assert_eq!(story.does(acquire(2, 1)).len(), 1);
    stale(story.refuses(advance(1, 1, 2, json!({"row": 2}))));
    assert_eq!(story.does(advance(2, 1, 1, json!({"row": 3}))).len(), 1, "each holder counts from 1");
}

#[test]
fn a_later_attempt_takes_it_over_and_the_earlier_is_fenced() {
    let mut story = held();
    story.does(advance(1, 1, 5, json!({"row": 5})));
    assert_eq!(story.does(acquire(1, 2)).len(), 1);
    assert_eq!(state_of(&story), Some(json!({"row": 5})), "it goes on where the one before came to");
    stale(story.refuses(advance(1, 1, 6, json!({"row": 6}))));
    assert_eq!(
        stale(story.refuses(acquire(1, 1))),
        "bookmark customers/load is held by attempt 2 of step load, which is later than 1"
    );
    assert_eq!(story.does(advance(1, 2, 1, json!({"row": 7}))).len(), 1);
}

#[test]
fn an_execution_that_is_not_open_gets_no_bookmark() {
    let mut story = held();
    story.does(complete(1));
    for n in [1, 9] {
        let expected = format!("execution {} is not open: it has ended", execution(n));
        assert_eq!(stale(story.refuses(acquire(n, 2))), expected);
        stale(story.refuses(advance(n, 1, 9, json!({"row": 9}))));
    }
}

#[test]
fn an_operator_changes_it_only_while_nobody_holds_it() {
    let mut story = held();
    story.does(advance(1, 1, 1, json!({"row": 1})));
    let expected =
        format!("bookmark {LOAD} is held by execution {}: wait for its end, or cancel it", execution(1));
    assert_eq!(wrong_state(story.refuses(set(json!({"row": 0})))), expected);
    assert_eq!(wrong_state(story.refuses(clear())), expected);
    story.does(complete(1));
    let bookmark_set = BookmarkSet { name: LOAD.to_owned(), step: name("load"), state: json!({"row": 0}) };
    assert_eq!(story.does(set(json!({"row": 0}))), [bookmark_set.into()]);
    let bookmark = &story.state.bookmarks[LOAD];
    assert_eq!((bookmark.reached_by, bookmark.state.clone()), (None, Some(json!({"row": 0}))));
    let cleared = BookmarkCleared { name: LOAD.to_owned(), step: name("load") };
    assert_eq!(story.does(clear()), [cleared.into()]);
    assert_eq!(state_of(&story), None);
    assert_eq!(story.does(clear()), [], "there is nothing left to clear");
}

#[test]
fn clearing_what_was_never_reached_changes_nothing() {
    let mut story = draft(&json!({}));
    assert_eq!(story.does(clear()), []);
    assert_eq!(story.state.bookmarks.len(), 0);
}

#[test]
fn a_step_is_addressed_by_its_name_whatever_its_bookmark_is_called() {
    let mut story = draft(&json!({}));
    let events = story.does(PipelineCommand::SetBookmark { step: name("check"), state: json!({"row": 1}) });
    assert!(matches!(events.as_slice(), [PipelineEvent::BookmarkSet(e)] if e.name == "seen"));
    let unknown = PipelineCommand::SetBookmark { step: name("chek"), state: json!({"row": 1}) };
    assert_eq!(story.refuses(unknown), Rejection::NotFound);
}

#[test]
fn the_bookmarks_of_two_steps_are_two_and_the_oldest_execution_gets_both() {
    let mut story = held();
    let seen = |n| PipelineCommand::AcquireBookmark {
        name: "seen".to_owned(),
        step: name("check"),
        execution: execution(n),
        attempt: 1,
    };
    let waits = "bookmark seen goes to the oldest open execution of the pipeline first".to_owned();
    assert_eq!(
        story.refuses(seen(2)),
        Rejection::Wait(waits),
        "else each could wait for what the other holds"
    );
    assert_eq!(story.does(seen(1)).len(), 1);
    story.does(complete(1));
    assert_eq!(story.state.bookmarks["seen"].holder, None);
    assert_eq!(story.does(seen(2)).len(), 1);
    assert_eq!(story.does(acquire(2, 1)).len(), 1);
}

#[test]
fn a_state_that_was_stored_without_an_answer_may_be_stored_again() {
    let mut story = held();
    story.does(advance(1, 1, 3, json!({"row": 3})));
    assert_eq!(story.does(advance(1, 1, 3, json!({"row": 3}))), [], "it is there already");
    stale(story.refuses(advance(1, 1, 3, json!({"row": 4}))));
}
