//! Which node runs the programs of a step: one that has the labels that all its plugins ask for, and memory for them. This
//! node, if it can; else the one that has most left.

use futures::StreamExt;
use futures::stream;

use crate::domain::ids::StreamId;
use crate::domain::labels::{self, Labels, has_all};
use crate::domain::pipeline::StepProgram;
use crate::limits::ROOM_ASKS;
use crate::ports::cluster::Member;
use crate::runtime::services::Services;

/// Where programs run.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::runtime) enum Place {
    /// On this node.
    Here,
    /// On another.
    At(Member),
}

impl Services {
    /// Where the programs of a step are to run now; a sentence for people when they can nowhere.
    pub(in crate::runtime) async fn place(&self, pipe: &[StepProgram]) -> Result<Place, String> {
        let (mut selectors, mut memory) = (Vec::new(), 0_u64);
        for program in pipe {
            let plugin = self.plugins.read(&StreamId::plugin(&program.plugin)).await;
            let plugin = plugin.map_err(|error| error.to_string())?;
            // one that does not exist is missed by the worker, and said so
            let Some(manifest) = &plugin.manifest else { return Ok(Place::Here) };
            memory = memory.saturating_add(manifest.limits.memory.0);
            selectors.push(manifest.node_selector.clone());
        }
        let wanted = labels::together(&selectors).map_err(|label| {
            format!("a node: its plugins ask for different values of the label {label:?} (node_selector)")
        })?;
        let here = has_all(&self.shared.cluster.labels, &wanted);
        if here && self.room() >= memory {
            return Ok(Place::Here);
        }
        match self.roomiest(&wanted, memory).await {
            Some(member) => Ok(Place::At(member)),
            // nobody has room: what is more than a node can promise shares what there is
            None if here => Ok(Place::Here),
            None => Err(format!("a node with the labels {}", labels::text(&wanted))),
        }
    }

    /// The memory that programs here can still be promised, bytes.
    pub(super) fn room(&self) -> u64 {
        self.shared.cluster.memory.saturating_sub(self.hosted.memory())
    }

    /// The member with these labels that has most room. One without enough is taken only when this node does not have the
    /// labels itself.
    async fn roomiest(&self, wanted: &Labels, memory: u64) -> Option<Member> {
        let cluster = &self.shared.cluster;
        let here = has_all(&cluster.labels, wanted);
        let able = stream::iter(cluster.able(wanted));
        let asked = able.map(|member| async move { (cluster.room_at(&member).await, member) });
        let rooms: Vec<(Option<u64>, Member)> = asked.buffer_unordered(ROOM_ASKS).collect().await;
        let enough = |(room, member)| Some((room?, member)).filter(|(room, _)| !here || *room >= memory);
        rooms.into_iter().filter_map(enough).max_by_key(|(room, _)| *room).map(|(_, member)| member)
    }
}
