//! Each command of the lifecycle in each state: its exact events, or the reason why it is refused.

use super::*;

const ALL: [Status; 4] = [Status::Draft, Status::Active, Status::Paused, Status::Archived];

#[test]
fn nothing_can_be_asked_of_a_pipeline_that_does_not_exist() {
    let advanced = BookmarkAdvanced {
        name: "customers/load".to_owned(),
        step: name("load"),
        execution: execution(1),
        attempt: 1,
        sequence: 1,
        state: json!({"a": 1}),
    };
    for command in [
        PipelineCommand::Revise(Box::new(definition(&json!({})))),
        PipelineCommand::Activate,
        PipelineCommand::Pause,
        PipelineCommand::Resume,
        PipelineCommand::Archive,
        start(1),
        complete(1),
        PipelineCommand::AdvanceBookmark(Box::new(advanced)),
        PipelineCommand::SetBookmark { step: name("load"), state: json!({"a": 1}) },
        PipelineCommand::ClearBookmark { step: name("load") },
    ] {
        assert_eq!(Story::<Pipeline>::new().refuses(command.clone()), Rejection::NotFound, "{command:?}");
    }
}

#[test]
fn a_new_pipeline_is_a_draft_in_its_first_revision() {
    let mut story = Story::<Pipeline>::new();
    let definition = definition(&json!({"owner": "data-team"}));
    let events = story.does(PipelineCommand::Create(Box::new(definition.clone())));
    assert_eq!(events, [PipelineCreated { definition: definition.clone() }.into()]);
    assert_eq!((story.state.status, story.state.revision), (Status::Draft, 1));
    assert_eq!((story.state.definition, story.state.created_at), (Some(definition), Some(story.now)));
}

#[test]
fn a_name_is_given_once_and_stays_reserved() {
    for status in ALL {
        let rejection = in_status(status).refuses(PipelineCommand::Create(Box::new(definition(&json!({})))));
        let Rejection::Exists(message) = rejection else { panic!("{rejection:?}") };
        assert!(message.contains("customers") && message.contains("another name"), "{message}");
        assert_eq!(message.contains("archived"), status == Status::Archived, "{message}");
    }
}

#[test]
fn activate_pause_resume_and_archive_in_every_state() {
    let activated: PipelineEvent = PipelineActivated {}.into();
    let (paused, resumed) = (PipelineEvent::from(PipelinePaused {}), PipelineEvent::from(PipelineResumed {}));
    let archived: PipelineEvent = PipelineArchived {}.into();
    // for draft, active, paused, archived: the event, none because it is so already, or a refusal
    let table = [
        (PipelineCommand::Activate, [Ok(Some(activated)), Ok(None), Ok(Some(resumed.clone())), Err(())]),
        (PipelineCommand::Pause, [Err(()), Ok(Some(paused)), Ok(None), Err(())]),
        (PipelineCommand::Resume, [Err(()), Ok(None), Ok(Some(resumed)), Err(())]),
        (
            PipelineCommand::Archive,
            [Ok(Some(archived.clone())), Ok(Some(archived.clone())), Ok(Some(archived)), Ok(None)],
        ),
    ];
    for (command, results) in table {
        for (status, expected) in ALL.into_iter().zip(results) {
            let mut story = in_status(status);
            match expected {
                Ok(event) => {
                    assert_eq!(story.does(command.clone()), Vec::from_iter(event), "{command:?} {status:?}");
                    assert_eq!(story.does(command.clone()), [], "{command:?} twice in {status:?}");
                }
                Err(()) => {
                    let message = wrong_state(story.refuses(command.clone()));
                    let cure = if status == Status::Draft { "activate it first" } else { "a new name" };
                    assert!(message.starts_with("pipeline customers is "), "{message}");
                    assert!(message.contains(status.as_str()) && message.ends_with(cure), "{message}");
                }
            }
        }
    }
}

#[test]
fn a_revision_counts_up_only_when_something_changed() {
    for status in [Status::Draft, Status::Active, Status::Paused] {
        let mut story = in_status(status);
        let same = PipelineCommand::Revise(Box::new(definition(&json!({}))));
        assert_eq!(story.does(same), []);
        for revision in 2..5 {
            let new = definition(&json!({"description": format!("revision {revision}")}));
            let events = story.does(PipelineCommand::Revise(Box::new(new.clone())));
            assert_eq!(events, [PipelineRevised { revision, definition: new.clone() }.into()]);
            assert_eq!((story.state.revision, story.state.definition.clone()), (revision, Some(new)));
            assert_eq!(story.state.status, status, "a revision does not change the lifecycle");
        }
    }
    let new = PipelineCommand::Revise(Box::new(definition(&json!({"owner": "me"}))));
    let message = wrong_state(in_status(Status::Archived).refuses(new));
    assert_eq!(
        message,
        "pipeline customers is archived and cannot be revised: create another under a new name"
    );
}
