//! Each command of the lifecycle in each state: its exact events, or the reason why it is refused.

use super::*;
use crate::domain::execution::ExecutionQueued;
use crate::domain::ids::StreamId;

const ALL: [Status; 3] = [Status::Enabled, Status::Disabled, Status::Retired];

fn in_status(status: Status) -> PluginStory {
    let mut story = registered(&json!({}));
    match status {
        Status::Enabled | Status::Registered => {}
        Status::Disabled => drop(story.does(PluginCommand::Disable)),
        Status::Retired => drop(story.does(PluginCommand::Retire)),
    }
    assert_eq!(story.state.status, status);
    story
}

fn execute() -> PluginCommand {
    let queued = ExecutionQueued {
        execution: execution(7),
        pipeline: None,
        plugin: Some(name("copy")),
        revision: None,
        steps: Vec::new(),
        parameters: serde_json::Map::new(),
        from_scratch: true,
    };
    PluginCommand::Execute { execution: execution(7), queued: Box::new(queued) }
}

#[test]
fn nothing_can_be_asked_of_a_plugin_that_does_not_exist() {
    for command in [
        revise(manifest(&json!({}))),
        PluginCommand::Enable,
        PluginCommand::Disable,
        PluginCommand::Retire,
        PluginCommand::Release,
        execute(),
        admit(1, 1),
        finish(1, None),
        PluginCommand::Lose { ended: vec![life(1)] },
    ] {
        assert_eq!(Story::<Plugin>::new().refuses(command.clone()), Rejection::NotFound, "{command:?}");
    }
}

#[test]
fn a_plugin_is_registered_and_enabled_at_once() {
    let mut story = Story::<Plugin>::new();
    let manifest = manifest(&json!({}));
    let events = story.does(register(manifest.clone()));
    let registered = PluginRegistered { granted: granted(&manifest), manifest };
    assert_eq!(events, [registered.into(), PluginEnabled {}.into()]);
    assert_eq!((story.state.status, story.state.health(story.now)), (Status::Enabled, "healthy"));
}

#[test]
fn a_name_is_given_once_and_stays_reserved() {
    for status in ALL {
        let rejection = in_status(status).refuses(register(manifest(&json!({}))));
        let Rejection::Exists(message) = rejection else { panic!("{rejection:?}") };
        assert!(message.starts_with("plugin copy ") && message.contains("another name"), "{message}");
        assert_eq!(message.contains("retired"), status == Status::Retired, "{message}");
    }
}

#[test]
fn enable_disable_revise_and_retire_in_every_state() {
    let (enabled, disabled) = (PluginEvent::from(PluginEnabled {}), PluginEvent::from(PluginDisabled {}));
    let retired: PluginEvent = PluginRetired {}.into();
    let new = json!({"version": "2"});
    let revised: PluginEvent =
        PluginRevised { granted: granted(&manifest(&new)), manifest: manifest(&new) }.into();
    // for enabled, disabled, retired: the event, none because it is so already, or a refusal
    let table = [
        (PluginCommand::Enable, [Ok(None), Ok(Some(enabled)), Err(())]),
        (PluginCommand::Disable, [Ok(Some(disabled)), Ok(None), Err(())]),
        (PluginCommand::Retire, [Ok(Some(retired.clone())), Ok(Some(retired)), Ok(None)]),
        (revise(manifest(&json!({}))), [Ok(None), Ok(None), Err(())]),
        (revise(manifest(&new)), [Ok(Some(revised.clone())), Ok(Some(revised)), Err(())]),
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
                    assert_eq!(message, "plugin copy is retired: register another under a new name");
                }
            }
        }
    }
}

#[test]
fn only_an_enabled_plugin_is_executed() {
    let mut story = in_status(Status::Enabled);
    let decision = story.decides(execute());
    let stream = StreamId::execution(execution(7));
    assert_eq!(decision.events, [], "the execution tells its own story");
    assert_eq!(decision.opens.len(), 1);
    assert_eq!(decision.opens[0].0, stream);
    assert_eq!(decision.wakeups, [(stream, Some(story.now))]);
    assert_eq!(decision.answer.execution_id, Some(execution(7)));
    for (status, message) in [
        (Status::Disabled, "plugin copy is disabled: enable it first"),
        (Status::Retired, "plugin copy is retired: register another under a new name"),
    ] {
        for command in [execute(), admit(1, 1)] {
            assert_eq!(wrong_state(in_status(status).refuses(command)), message);
        }
    }
}

#[test]
fn what_runs_ends_in_every_state() {
    for command in [PluginCommand::Disable, PluginCommand::Retire] {
        let mut story = in_status(Status::Enabled);
        story.does(admit(1, 1));
        story.does(command);
        assert_eq!(story.does(finish(1, None)).len(), 1);
        assert_eq!(story.state.programs_running(), 0);
    }
}

#[test]
fn where_links_lead_is_part_of_what_is_granted() {
    let mut story = registered(&json!({}));
    let same = manifest(&json!({}));
    let leads = Leads::from([("/data".to_owned(), "/srv/data".to_owned())]);
    let granted = Granted { leads: Some(leads.clone()), ..granted(&same) };
    let again = PluginCommand::Revise(Box::new(same.clone()), granted.clone());
    assert_eq!(story.does(again.clone()), [PluginRevised { manifest: same, granted }.into()]);
    assert_eq!(story.state.leads, Some(leads));
    assert_eq!(story.does(again), []);
}
