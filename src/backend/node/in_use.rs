//! Which Nodes have processes, those of earlier generations among them: nobody may take one away from under them. Each
//! process holds its Node, and lets go of it on drop.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::choice::NodeStatus;

/// Programs of one backend, and how many processes each has.
#[derive(Debug, Default)]
pub(in crate::backend) struct NodesInUse(Mutex<BTreeMap<PathBuf, usize>>);

/// One process's.
#[derive(Debug)]
pub(in crate::backend) struct NodeHold {
    program: PathBuf,
    nodes: Arc<NodesInUse>,
}

impl NodesInUse {
    /// A process runs this one; or none, which takes none away.
    pub(in crate::backend) fn hold(self: &Arc<Self>, node: Option<&NodeStatus>) -> Option<NodeHold> {
        let program = node?.program.clone();
        *self.programs().entry(program.clone()).or_default() += 1;
        Some(NodeHold { program, nodes: Arc::clone(self) })
    }

    /// All of them, in order.
    pub(in crate::backend) fn list(&self) -> Vec<PathBuf> {
        self.programs().keys().cloned().collect()
    }

    fn programs(&self) -> MutexGuard<'_, BTreeMap<PathBuf, usize>> {
        // Every change is whole: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NodeHold {
    fn drop(&mut self) {
        let mut programs = self.nodes.programs();
        match programs.get_mut(&self.program) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(programs.remove(&self.program)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Source, *};

    #[test]
    fn a_node_is_in_use_as_long_as_one_process_holds_it() {
        let nodes = Arc::new(NodesInUse::default());
        let node = |program: &str| {
            let (program, by) = (program.into(), "node.path".to_owned());
            NodeStatus { version: None, program, source: Source::Named, by }
        };
        let (old, new) = (node("/old/node"), node("/new/node"));
        assert!(nodes.hold(None).is_none());
        let (first, second) = (nodes.hold(Some(&old)), nodes.hold(Some(&old)));
        let third = nodes.hold(Some(&new));
        assert_eq!(nodes.list(), ["/new/node", "/old/node"].map(PathBuf::from));
        drop(first);
        assert_eq!(nodes.list().len(), 2);
        drop(second);
        assert_eq!(nodes.list(), [PathBuf::from("/new/node")]);
        drop(third);
        assert_eq!(nodes.list().len(), 0);
    }
}
