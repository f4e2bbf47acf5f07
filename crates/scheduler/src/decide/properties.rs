//! Decisions in random clusters follow every rule and miss no feasible node.
//!
//! The rules are implemented here a second time in the simplest way: loops over all pods, on the descriptions from
//! which the clusters were generated and not on the scheduler's own data.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::decide;
use crate::cluster::testing;
use crate::cluster::testing::Builder;
use crate::model::Intern;
use crate::model::Pod;
use crate::read;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    Host,
    Zone,
}

impl Key {
    fn label(self) -> &'static str {
        match self {
            Key::Host => "kubernetes.io/hostname",
            Key::Zone => "zone",
        }
    }
}

#[derive(Clone, Debug)]
struct Machine {
    zone: Option<u8>,
    cpu: u32,
    tainted: bool,
    cordoned: bool,
    fast: bool,
    pods: u8,
}

#[derive(Clone, Debug)]
struct PodSpec {
    app: u8,
    cpu: u32,
    fast: bool,
    tolerant: bool,
    port: Option<u16>,
    near: Option<(u8, Key)>,
    away: Option<(u8, Key)>,
    spread: Option<(Key, i64)>,
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![Just(Key::Host), Just(Key::Zone)]
}

fn machine() -> impl Strategy<Value = Machine> {
    (
        option::weighted(0.8, 0..3_u8),
        1..4_u32,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        any::<bool>(),
        1..6_u8,
    )
        .prop_map(|(zone, cpu, tainted, cordoned, fast, pods)| Machine {
            zone,
            cpu,
            tainted,
            cordoned,
            fast,
            pods,
        })
}

fn spec() -> impl Strategy<Value = PodSpec> {
    (
        0..3_u8,
        0..3_u32,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        option::weighted(0.2, 80..82_u16),
        option::weighted(0.2, (0..3_u8, key())),
        option::weighted(0.2, (0..3_u8, key())),
        option::weighted(0.3, (key(), 1..3_i64)),
    )
        .prop_map(|(app, cpu, fast, tolerant, port, near, away, spread)| PodSpec {
            app,
            cpu,
            fast,
            tolerant,
            port,
            near,
            away,
            spread,
        })
}

impl Machine {
    fn json(&self) -> Value {
        let mut labels = json!({"disk": if self.fast { "ssd" } else { "hdd" }});
        if let Some(zone) = self.zone {
            labels["zone"] = json!(zone.to_string());
        }
        let taints = if self.tainted { json!([{"key": "team", "effect": "NoSchedule"}]) } else { json!([]) };
        json!({
            "metadata": {"labels": labels},
            "spec": {"taints": taints, "unschedulable": self.cordoned},
            "status": {"allocatable": {"cpu": self.cpu.to_string(), "pods": self.pods.to_string()}},
        })
    }
}

impl PodSpec {
    fn json(&self) -> Value {
        let term = |(app, key): (u8, Key)| {
            json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key.label(),
                "labelSelector": {"matchLabels": {"app": app.to_string()}}}]})
        };
        let container = json!({"name": "c", "resources": {"requests": {"cpu": self.cpu.to_string()}},
            "ports": self.port.map(|port| json!({"hostPort": port, "containerPort": port})).into_iter().collect::<Vec<_>>()});
        let mut spec = json!({"containers": [container], "affinity": {}});
        if self.fast {
            spec["nodeSelector"] = json!({"disk": "ssd"});
        }
        if self.tolerant {
            spec["tolerations"] = json!([{"key": "team", "operator": "Exists"}]);
        }
        if let Some(near) = self.near {
            spec["affinity"]["podAffinity"] = term(near);
        }
        if let Some(away) = self.away {
            spec["affinity"]["podAntiAffinity"] = term(away);
        }
        if let Some((key, skew)) = self.spread {
            spec["topologySpreadConstraints"] = json!([{"maxSkew": skew, "topologyKey": key.label(),
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": self.app.to_string()}}}]);
        }
        json!({"metadata": {"labels": {"app": self.app.to_string()}}, "spec": spec})
    }
}

/// The rules, implemented naively.
struct Naive<'a> {
    machines: &'a [Machine],
    /// Placed pods with the index of their machine.
    placed: Vec<(&'a PodSpec, usize)>,
}

impl Naive<'_> {
    /// Machines with the same value are in one domain.
    fn domain(&self, machine: usize, key: Key) -> Option<usize> {
        match key {
            Key::Host => Some(machine),
            Key::Zone => self.machines[machine].zone.map(usize::from),
        }
    }

    fn together(&self, a: usize, b: usize, key: Key) -> bool {
        self.domain(a, key).is_some() && self.domain(a, key) == self.domain(b, key)
    }

    fn allows(&self, spec: &PodSpec, machine: usize) -> bool {
        let it = &self.machines[machine];
        let here: Vec<_> = self.placed.iter().filter(|(_, at)| *at == machine).map(|(spec, _)| spec).collect();
        let used: u32 = here.iter().map(|other| other.cpu).sum();
        !it.cordoned
            && (!it.tainted || spec.tolerant)
            && (!spec.fast || it.fast)
            && here.len() < usize::from(it.pods)
            && (spec.cpu == 0 || used + spec.cpu <= it.cpu)
            && (spec.port.is_none() || here.iter().all(|other| other.port != spec.port))
            && spec.near.is_none_or(|near| self.allows_near(spec, near, machine))
            && spec.away.is_none_or(|away| !self.is_near(away, machine))
            && !self.is_unwelcome(spec, machine)
            && spec.spread.is_none_or(|(key, skew)| self.allows_spread(spec, key, skew, machine))
    }

    fn is_near(&self, (app, key): (u8, Key), machine: usize) -> bool {
        self.placed.iter().any(|(other, at)| other.app == app && self.together(*at, machine, key))
    }

    fn allows_near(&self, spec: &PodSpec, near: (u8, Key), machine: usize) -> bool {
        let (app, key) = near;
        let exists = self.placed.iter().any(|(other, at)| other.app == app && self.domain(*at, key).is_some());
        self.domain(machine, key).is_some() && (self.is_near(near, machine) || (!exists && spec.app == app))
    }

    fn is_unwelcome(&self, spec: &PodSpec, machine: usize) -> bool {
        self.placed
            .iter()
            .any(|(other, at)| other.away.is_some_and(|(app, key)| app == spec.app && self.together(*at, machine, key)))
    }

    fn allows_spread(&self, spec: &PodSpec, key: Key, skew: i64, machine: usize) -> bool {
        // Machines excluded by the pod's node selector are not compared.
        let compared = |at: usize| !spec.fast || self.machines[at].fast;
        let count = |domain: usize| {
            let same = |(other, at): &&(&PodSpec, usize)| {
                other.app == spec.app && compared(*at) && self.domain(*at, key) == Some(domain)
            };
            i64::try_from(self.placed.iter().filter(same).count()).unwrap()
        };
        let domains = (0..self.machines.len()).filter(|at| compared(*at)).filter_map(|at| self.domain(at, key));
        let emptiest = domains.map(count).min().unwrap_or(0);
        self.domain(machine, key).is_some_and(|domain| count(domain) + 1 - emptiest <= skew)
    }
}

fn index(name: &str) -> usize {
    name.parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_placement_breaks_a_rule_and_no_feasible_node_is_missed(
        machines in vec(machine(), 1..6),
        specs in vec(spec(), 1..14),
        choice in any::<usize>(),
    ) {
        let intern = Intern::default();
        let mut builder = Builder::default();
        for (at, machine) in machines.iter().enumerate() {
            builder = builder.node(&at.to_string(), machine.json());
        }
        let mut cluster = builder.cluster;
        let mut naive = Naive { machines: &machines, placed: Vec::new() };
        for (at, spec) in specs.iter().enumerate() {
            let wire = serde_json::from_value(testing::pod(&format!("pod-{at}"), spec.json())).unwrap();
            let pod = Arc::new(read::pod(&wire, &intern).unwrap());
            match decide(&pod, &mut cluster, |several| choice % several) {
                Ok(placement) => {
                    let name = cluster.node(placement.node).node.name.clone();
                    prop_assert!(naive.allows(spec, index(&name)), "{spec:?} was placed on {name}");
                    naive.placed.push((spec, index(&name)));
                    cluster.put_pod(Arc::new(Pod { node: Some(name), ..Pod::clone(&pod) }));
                }
                Err(fit_error) => {
                    let missed: Vec<_> = (0..machines.len()).filter(|at| naive.allows(spec, *at)).collect();
                    prop_assert!(missed.is_empty(), "{spec:?} fits on {missed:?}: {}", fit_error.message());
                }
            }
        }
    }
}
