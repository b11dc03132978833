//! Services and their checks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Refusal;

/// How many services may be registered at once.
pub(crate) const SERVICES_MAX: usize = 4_096;

/// The longest report on a check; a longer one is cut.
pub(crate) const OUTPUT_BYTES_MAX: usize = 4_096;

/// The state of a check, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Passing,
    Warning,
    Critical,
}

/// A service that an agent's client registers, with its checks.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) service: ServiceDefinition,
    pub(crate) checks: Vec<CheckDefinition>,
}

/// What a service tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceDefinition {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    /// Empty for the agent's own address.
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) meta: BTreeMap<String, String>,
}

/// A check that must be reported on within its time to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckDefinition {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) notes: String,
    pub(crate) ttl: Duration,
    pub(crate) initial_status: Status,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) definition: ServiceDefinition,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) definition: CheckDefinition,
    pub(crate) service_id: String,
    pub(crate) status: Status,
    /// What was last reported.
    pub(crate) output: String,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    /// When it becomes critical, unless it is reported on before. `None` once it has.
    deadline: Option<Instant>,
}

/// All services and checks.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    services: BTreeMap<String, Service>,
    checks: BTreeMap<String, Check>,
    /// The index of the last change to the instances or checks of each service that has instances.
    service_indexes: BTreeMap<String, u64>,
    /// The index at which a service last lost its last instance.
    extinction_index: u64,
    /// The index of the last change to any service.
    services_index: u64,
    /// The index of the last change to any check.
    checks_index: u64,
}

impl Catalog {
    pub(super) fn new(index: u64) -> Self {
        Self {
            services: BTreeMap::new(),
            checks: BTreeMap::new(),
            service_indexes: BTreeMap::new(),
            extinction_index: index,
            services_index: index,
            checks_index: index,
        }
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    pub(crate) fn service(&self, id: &str) -> Option<&Service> {
        self.services.get(id)
    }

    pub(crate) fn instances(&self, name: &str) -> impl Iterator<Item = &Service> {
        self.services.values().filter(move |service| service.definition.name == name)
    }

    pub(crate) fn checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.values()
    }

    pub(crate) fn checks_of(&self, service_id: &str) -> impl Iterator<Item = &Check> {
        self.checks.values().filter(move |check| check.service_id == service_id)
    }

    /// The index that queries for the instances of a service wait on.
    pub(crate) fn service_index(&self, name: &str) -> u64 {
        self.service_indexes.get(name).copied().unwrap_or(self.extinction_index)
    }

    /// The index that queries for the list of services wait on.
    pub(crate) fn services_index(&self) -> u64 {
        self.services_index
    }

    /// The index that queries for checks wait on.
    pub(crate) fn checks_index(&self) -> u64 {
        self.checks_index
    }

    /// Returns whether anything that others can see has changed.
    pub(super) fn register(
        &mut self,
        registration: Registration,
        index: u64,
        now: Instant,
    ) -> Result<bool, Refusal> {
        let Registration { service: definition, checks } = registration;
        let id = definition.id.clone();
        let existing = self.services.get(&id).cloned();
        if existing.is_none() && self.services.len() >= SERVICES_MAX {
            return Err(Refusal::Full { what: "services", limit: SERVICES_MAX });
        }
        let mut changed = false;
        if existing.as_ref().is_none_or(|service| service.definition != definition) {
            let previous_name = existing.as_ref().map(|service| service.definition.name.clone());
            let create_index = existing.map_or(index, |service| service.create_index);
            let name = definition.name.clone();
            self.services
                .insert(id.clone(), Service { definition, create_index, modify_index: index });
            self.touch_service(&name, index);
            if let Some(previous) = previous_name.filter(|previous| *previous != name) {
                self.touch_service(&previous, index);
            }
            changed = true;
        }
        for check in checks {
            changed |= self.register_check(&id, check, index, now);
        }
        Ok(changed)
    }

    fn register_check(
        &mut self,
        service_id: &str,
        definition: CheckDefinition,
        index: u64,
        now: Instant,
    ) -> bool {
        let existing = self.checks.get(&definition.id);
        let unchanged = existing
            .is_some_and(|check| check.definition == definition && check.service_id == service_id);
        let check = Check {
            service_id: service_id.to_owned(),
            // As in Consul, a check that is registered again stays in its state.
            status: existing.map_or(definition.initial_status, |check| check.status),
            output: existing.map(|check| check.output.clone()).unwrap_or_default(),
            create_index: existing.map_or(index, |check| check.create_index),
            modify_index: existing.filter(|_| unchanged).map_or(index, |c| c.modify_index),
            deadline: Some(now + definition.ttl),
            definition,
        };
        self.checks.insert(check.definition.id.clone(), check);
        if !unchanged {
            self.touch_check(service_id, index);
        }
        !unchanged
    }

    /// Returns whether there was such a service.
    pub(super) fn deregister(&mut self, service_id: &str, index: u64) -> bool {
        let Some(service) = self.services.remove(service_id) else { return false };
        let before = self.checks.len();
        self.checks.retain(|_, check| check.service_id != service_id);
        if self.checks.len() != before {
            self.checks_index = index;
        }
        self.touch_service(&service.definition.name, index);
        true
    }

    /// Returns whether anything that others wait for has changed: the status, not the output.
    pub(super) fn report(
        &mut self,
        check_id: &str,
        status: Status,
        output: &str,
        index: u64,
        now: Instant,
    ) -> Result<bool, Refusal> {
        let Some(check) = self.checks.get_mut(check_id) else {
            return Err(Refusal::UnknownCheck(check_id.to_owned()));
        };
        check.deadline = Some(now + check.definition.ttl);
        check.output = cut(output);
        Ok(self.set_status(check_id, status, index))
    }

    /// Returns whether a check became critical.
    pub(super) fn expire(&mut self, index: u64, now: Instant) -> bool {
        let mut late = Vec::new();
        for check in self.checks.values_mut() {
            if check.deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            check.deadline = None;
            let last = if check.output.is_empty() {
                String::new()
            } else {
                format!(" (last output before timeout follows): {}", check.output)
            };
            check.output = cut(&format!("TTL expired{last}"));
            late.push(check.definition.id.clone());
        }
        let mut changed = false;
        for check_id in late {
            changed |= self.set_status(&check_id, Status::Critical, index);
        }
        changed
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.checks.values().filter_map(|check| check.deadline).min()
    }

    fn set_status(&mut self, check_id: &str, status: Status, index: u64) -> bool {
        let Some(check) = self.checks.get_mut(check_id).filter(|check| check.status != status)
        else {
            return false;
        };
        check.status = status;
        check.modify_index = index;
        let service_id = check.service_id.clone();
        self.touch_check(&service_id, index);
        true
    }

    fn touch_check(&mut self, service_id: &str, index: u64) {
        self.checks_index = index;
        if let Some(service) = self.services.get(service_id) {
            self.service_indexes.insert(service.definition.name.clone(), index);
        }
    }

    fn touch_service(&mut self, name: &str, index: u64) {
        self.services_index = index;
        if self.instances(name).next().is_some() {
            self.service_indexes.insert(name.to_owned(), index);
        } else {
            // A name without instances needs no entry, so the map cannot grow without bound.
            self.service_indexes.remove(name);
            self.extinction_index = index;
        }
    }
}

/// At most [`OUTPUT_BYTES_MAX`] of `output`.
fn cut(output: &str) -> String {
    output[..output.floor_char_boundary(OUTPUT_BYTES_MAX)].to_owned()
}
