//! Which roles a role inherits. What is in doubt gives nothing: a role that is not there, and each link of a cycle. The rest
//! is inherited all the same.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::api::Reason;
use crate::domain::index::Index;
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;

/// How many roles may inherit one another in a row. Tenants make these chains, and each binding walks its own.
const MOST_NESTED: usize = 32;

/// A role with all that it inherits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closure {
    /// Each once, the role itself first; none where that is not there.
    pub roles: Vec<ObjectKey>,
    /// What is not inherited, and why.
    pub problems: Vec<Problem>,
}

/// Roles that are there, with what they inherit, there or not.
type Graph = BTreeMap<ObjectKey, BTreeSet<ObjectKey>>;

/// The role itself and every role that it inherits.
pub fn closure(index: &Index, start: &ObjectKey) -> Closure {
    let graph = explore(index, start);
    let components = components(&graph, start);
    let mut closure = Closure::default();
    let mut seen = BTreeSet::from([start]);
    let mut to_visit = VecDeque::from([(start, None)]);
    let mut cyclic: BTreeSet<usize> = BTreeSet::new();
    while let Some((key, by)) = to_visit.pop_front() {
        let Some(inherited) = graph.get(key) else {
            closure.problems.push(problem(index, start, key, by));
            continue;
        };
        closure.roles.push(key.clone());
        for next in inherited {
            if components.get(next) == components.get(key) {
                cyclic.extend(components.get(key).copied());
            } else if seen.insert(next) {
                to_visit.push_back((next, Some(key)));
            }
        }
    }
    // By name, so that each cycle reads the same whoever inherits it.
    let mut firsts = BTreeMap::new();
    for (key, component) in &components {
        firsts.entry(component).or_insert(*key);
    }
    let firsts = cyclic.iter().filter_map(|component| firsts.get(component));
    closure.problems.extend(firsts.filter_map(|first| cycle(&graph, &components, first)));
    closure.problems.sort();
    closure
}

/// Roles that are there, as far as they are not too many steps away.
fn explore(index: &Index, start: &ObjectKey) -> Graph {
    let mut graph = Graph::new();
    let mut nearest = BTreeSet::from([start.clone()]);
    for _ in 0..MOST_NESTED {
        let mut next = BTreeSet::new();
        for key in nearest {
            let Some(role) = index.role(&key).filter(|r| r.metadata.deletion_timestamp.is_none()) else { continue };
            let inherited = role.spec.inherits.iter().map(|r| ObjectKey::new(&r.namespace, &r.name));
            let inherited: BTreeSet<_> = inherited.collect();
            next.extend(inherited.iter().cloned());
            graph.insert(key, inherited);
        }
        next.retain(|key| !graph.contains_key(key));
        nearest = next;
    }
    graph
}

/// Why `key`, which `by` inherits, is not in the graph of `start`.
fn problem(index: &Index, start: &ObjectKey, key: &ObjectKey, by: Option<&ObjectKey>) -> Problem {
    let which = by.map(|by| format!(", which {by} inherits,")).unwrap_or_default();
    match index.role(key) {
        None => Problem::invalid(Reason::RoleNotFound, format!("StreamRole {key}{which} does not exist")),
        Some(role) if role.metadata.deletion_timestamp.is_some() => {
            Problem::waiting(Reason::Deleting, format!("StreamRole {key}{which} is being deleted"))
        }
        Some(_) => Problem::invalid(
            Reason::Invalid,
            format!("StreamRole {start}: more than {MOST_NESTED} roles inherit one another in a row, down to {key}"),
        ),
    }
}

/// Numbers the roles, so that two have the same number if each inherits the other, directly or not (Kosaraju's algorithm).
fn components<'a>(graph: &'a Graph, start: &'a ObjectKey) -> BTreeMap<&'a ObjectKey, usize> {
    let mut heirs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (heir, inherited) in graph {
        inherited.iter().for_each(|key| heirs.entry(key).or_default().push(heir));
    }
    let mut components = BTreeMap::new();
    for (n, root) in inherited_first(graph, start).into_iter().rev().enumerate() {
        let mut to_visit = vec![root];
        while let Some(key) = to_visit.pop() {
            if let Entry::Vacant(vacant) = components.entry(key) {
                vacant.insert(n);
                to_visit.extend(heirs.get(key).into_iter().flatten());
            }
        }
    }
    components
}

/// The roles of the graph, each after those that it inherits and that do not inherit it. Without recursion: tenants make these
/// graphs.
fn inherited_first<'a>(graph: &'a Graph, start: &'a ObjectKey) -> Vec<&'a ObjectKey> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::from([start]);
    let mut path: Vec<_> = graph.get(start).map(|inherited| (start, inherited.iter())).into_iter().collect();
    while let Some((key, rest)) = path.last_mut() {
        match rest.find_map(|next| graph.get_key_value(next).filter(|_| seen.insert(next))) {
            Some((next, inherited)) => path.push((next, inherited.iter())),
            None => {
                order.push(*key);
                path.pop();
            }
        }
    }
    order
}

/// A problem that has the shortest way round from `first`.
fn cycle(graph: &Graph, components: &BTreeMap<&ObjectKey, usize>, first: &ObjectKey) -> Option<Problem> {
    let component = components.get(first);
    let mut came_from = BTreeMap::new();
    let mut to_visit = VecDeque::from([first]);
    while let Some(key) = to_visit.pop_front().filter(|_| !came_from.contains_key(first)) {
        for next in graph.get(key)?.iter().filter(|k| components.get(k) == component) {
            if let Entry::Vacant(vacant) = came_from.entry(next) {
                vacant.insert(key);
                to_visit.push_back(next);
            }
        }
    }
    let mut way = vec![first.to_string()];
    let mut key = *came_from.get(first)?;
    while key != first {
        way.push(key.to_string());
        key = came_from.get(key)?;
    }
    way.push(first.to_string());
    way.reverse();
    let way = way.join(" -> ");
    let what = format!("StreamRole inherits itself: {way}: these give one another nothing until one link is taken out");
    Some(Problem::invalid(Reason::RoleCycle, what))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::{prop, proptest};
    use proptest::test_runner::Config;

    use super::{Closure, closure};
    use crate::api::Reason;
    use crate::domain::testing::{World, key};

    /// Puts role `name` of namespace `n`, that inherits others of it.
    fn put(world: &mut World, name: &str, inherits: &[&str]) {
        put_with(world, &format!("name: {name}"), inherits);
    }

    fn put_with(world: &mut World, meta: &str, inherits: &[&str]) {
        let inherits: Vec<_> = inherits.iter().map(|i| format!("{{namespace: n, name: {i}}}")).collect();
        let inherits = inherits.join(", ");
        world.put(&format!(
            "{{kind: StreamRole, metadata: {{namespace: n, {meta}}}, spec: {{inherits: [{inherits}]}}}}"
        ));
    }

    fn of(world: &World, name: &str) -> (Vec<String>, Vec<(Reason, String)>) {
        let Closure { roles, problems } = closure(&world.index, &key(&format!("n/{name}")));
        let names = roles.into_iter().map(|r| r.name).collect();
        (names, problems.into_iter().map(|p| (p.reason, p.message)).collect())
    }

    fn assert_gives(world: &World, name: &str, roles: &[&str], reason: Reason, part: &str) {
        let (names, problems) = of(world, name);
        assert_eq!(names, roles);
        assert!(problems.len() == 1 && problems[0].0 == reason && problems[0].1.contains(part), "{problems:?}");
    }

    #[test]
    fn what_is_inherited_on_two_ways_counts_once() {
        let mut world = World::empty();
        put(&mut world, "a", &["b", "c"]);
        put(&mut world, "b", &["d"]);
        put(&mut world, "c", &["d"]);
        put(&mut world, "d", &[]);
        assert_eq!(of(&world, "a"), (["a", "b", "c", "d"].map(String::from).to_vec(), Vec::new()));
    }

    #[test]
    fn a_role_that_is_not_there_takes_nothing_from_the_others() {
        let mut world = World::empty();
        put(&mut world, "a", &["b", "c"]);
        put(&mut world, "c", &["d"]);
        put(&mut world, "d", &[]);
        assert_gives(
            &world,
            "a",
            &["a", "c", "d"],
            Reason::RoleNotFound,
            "StreamRole n/b, which n/a inherits, does not exist",
        );
        put_with(&mut world, "name: b, deletionTimestamp: 2026-06-01T00:00:00Z", &["c", "ghost"]);
        assert_gives(
            &world,
            "a",
            &["a", "c", "d"],
            Reason::Deleting,
            "StreamRole n/b, which n/a inherits, is being deleted",
        );
        assert_gives(&world, "b", &[], Reason::Deleting, "StreamRole n/b is being deleted");
        assert_gives(&world, "ghost", &[], Reason::RoleNotFound, "StreamRole n/ghost does not exist");
    }

    #[test]
    fn links_of_a_cycle_give_nothing_and_all_others_do() {
        let mut world = World::empty();
        put(&mut world, "heir", &["b"]);
        put(&mut world, "c", &["a", "above-c"]);
        put(&mut world, "b", &["c", "above-b"]);
        put(&mut world, "a", &["b"]);
        put(&mut world, "above-b", &[]);
        put(&mut world, "above-c", &[]);
        let way = "StreamRole inherits itself: n/a -> n/b -> n/c -> n/a: these give one another nothing";
        assert_gives(&world, "a", &["a"], Reason::RoleCycle, way);
        assert_gives(&world, "b", &["b", "above-b"], Reason::RoleCycle, way);
        assert_gives(&world, "c", &["c", "above-c"], Reason::RoleCycle, way);
        assert_gives(&world, "heir", &["heir", "b", "above-b"], Reason::RoleCycle, way);
        put(&mut world, "itself", &["itself", "above-b"]);
        assert_gives(&world, "itself", &["itself", "above-b"], Reason::RoleCycle, "n/itself -> n/itself");
    }

    #[test]
    fn two_cycles_are_two_problems_and_the_link_between_them_holds() {
        let mut world = World::empty();
        put(&mut world, "a", &["b", "c"]);
        put(&mut world, "b", &["a"]);
        put(&mut world, "c", &["d"]);
        put(&mut world, "d", &["c"]);
        let (names, problems) = of(&world, "a");
        assert_eq!(names, ["a", "c"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].1.contains("n/a -> n/b -> n/a") && problems[1].1.contains("n/c -> n/d -> n/c"));
    }

    #[test]
    fn a_long_chain_gives_its_first_32_roles() {
        let mut world = World::empty();
        for n in 0..100 {
            put(&mut world, &format!("r{n}"), &[&format!("r{}", n + 1)]);
        }
        let (names, problems) = of(&world, "r0");
        assert_eq!(names, (0..32).map(|n| format!("r{n}")).collect::<Vec<_>>());
        assert_eq!(problems[0].0, Reason::Invalid);
        assert!(problems[0].1.contains("n/r0: more than 32 roles inherit one another in a row, down to n/r32"));
    }

    proptest! {
        #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

        /// The law, by brute force: a link counts if what it leads to does not lead back.
        #[test]
        fn exactly_the_links_of_cycles_are_cut(links in prop::collection::btree_set((0..7usize, 0..7usize), 0..14)) {
            const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
            let mut world = World::empty();
            for (n, name) in NAMES.iter().enumerate() {
                let inherits: Vec<_> = links.iter().filter(|l| l.0 == n).map(|l| NAMES[l.1]).collect();
                put(&mut world, name, &inherits);
            }
            let reach = |links: &BTreeSet<(usize, usize)>| -> BTreeMap<usize, BTreeSet<usize>> {
                let mut reach: BTreeMap<_, _> = (0..7).map(|n| (n, BTreeSet::from([n]))).collect();
                for _ in 0..7 {
                    for (from, to) in links {
                        let further = reach[to].clone();
                        reach.entry(*from).or_default().extend(further);
                    }
                }
                reach
            };
            let all = reach(&links);
            let (cut, kept): (BTreeSet<_>, BTreeSet<_>) = links.iter().partition(|(from, to)| all[to].contains(from));
            for (n, reached) in reach(&kept) {
                let (names, problems) = of(&world, NAMES[n]);
                assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), reached.iter().map(|r| NAMES[*r]).collect());
                assert_eq!(problems.is_empty(), !cut.iter().any(|(from, _)| reached.contains(from)));
            }
        }
    }
}
