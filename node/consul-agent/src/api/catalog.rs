//! `/v1/catalog/...` and `/v1/health/...`: which services there are, and how they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::Api;
use super::reply::{ApiError, indexed_json};
use super::request::Params;
use crate::state::{Catalog, Check, Service, ServiceDefinition, State as AgentState, Status};

/// The only machine in the catalog: this one.
pub(super) const NODE_NAME: &str = "kvnode-dev";

/// The name of the only data centre, which is Consul's default.
pub(super) const DATACENTER: &str = "dc1";

/// The check of the machine itself, which passes for as long as the agent answers.
const NODE_CHECK_ID: &str = "serfHealth";

/// The index at which the machine and its check came to be: before everything else.
const NODE_INDEX: u64 = 1;

type Asked = Query<Vec<(String, String)>>;

/// Answers a read with what `view` shows of the state and its index, once there is something new where the
/// request waits for that. A filter is refused, since it would have to be ignored.
async fn read<T: Serialize>(
    api: &Api,
    Query(params): Asked,
    view: impl Fn(&AgentState, &Params) -> (u64, T),
) -> Result<Response, ApiError> {
    let params = Params(params);
    if params.has("filter") {
        return Err(ApiError::Bad("the embedded agent does not support ?filter".to_owned()));
    }
    let (index, shown) = api.core.read(params.wait()?, |state| view(state, &params)).await;
    Ok(indexed_json(index, &shown))
}

pub(super) async fn services(State(api): State<Api>, asked: Asked) -> Result<Response, ApiError> {
    let view = |state: &AgentState, _: &Params| {
        let mut tags = BTreeMap::<String, BTreeSet<String>>::new();
        for service in state.catalog.services() {
            let definition = &service.definition;
            tags.entry(definition.name.clone()).or_default().extend(definition.tags.clone());
        }
        (state.catalog.services_index(), tags)
    };
    read(&api, asked, view).await
}

pub(super) async fn instances(
    State(api): State<Api>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let view = |state: &AgentState, params: &Params| {
        let instances = selected(&state.catalog, &name, params);
        let instances: Vec<Value> = instances.map(|s| catalog_json(&api, s)).collect();
        (state.catalog.service_index(&name), instances)
    };
    read(&api, asked, view).await
}

pub(super) async fn health(
    State(api): State<Api>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let view = |state: &AgentState, params: &Params| {
        let catalog = &state.catalog;
        let passing_only = params.has("passing");
        let well = |service: &&Service| {
            catalog.checks_of(&service.definition.id).all(|c| c.status == Status::Passing)
        };
        let instances: Vec<Value> = selected(catalog, &name, params)
            .filter(|service| !passing_only || well(service))
            .map(|service| health_json(&api, catalog, service))
            .collect();
        (catalog.service_index(&name), instances)
    };
    read(&api, asked, view).await
}

pub(super) async fn checks_in_state(
    State(api): State<Api>,
    Path(wanted): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let view = |state: &AgentState, _: &Params| {
        let checks = state.catalog.checks().map(|check| check_json(&state.catalog, check));
        let checks: Vec<Value> = std::iter::once(node_check_json())
            .chain(checks)
            .filter(|check| wanted == "any" || check["Status"] == wanted.as_str())
            .collect();
        (state.catalog.checks_index(), checks)
    };
    read(&api, asked, view).await
}

pub(super) async fn checks_of_service(
    State(api): State<Api>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let view = |state: &AgentState, _: &Params| {
        let catalog = &state.catalog;
        let checks: Vec<Value> = catalog
            .instances(&name)
            .flat_map(|service| catalog.checks_of(&service.definition.id))
            .map(|check| check_json(catalog, check))
            .collect();
        (catalog.service_index(&name), checks)
    };
    read(&api, asked, view).await
}

/// The machines in the catalog, which never change here.
pub(super) async fn nodes(State(api): State<Api>, asked: Asked) -> Result<Response, ApiError> {
    read(&api, asked, |_, _| (NODE_INDEX, [node_json(&api)])).await
}

/// The instances of a service, only those with a tag if one is asked for.
fn selected<'a>(
    catalog: &'a Catalog,
    name: &'a str,
    params: &'a Params,
) -> impl Iterator<Item = &'a Service> {
    let tag = params.get("tag").filter(|tag| !tag.is_empty());
    catalog
        .instances(name)
        .filter(move |s| tag.is_none_or(|tag| s.definition.tags.iter().any(|t| t == tag)))
}

fn catalog_json(api: &Api, service: &Service) -> Value {
    let ServiceDefinition { id, name, tags, address, port, meta } = &service.definition;
    let node_address = api.address.ip().to_string();
    json!({
        "ID": api.core.node_id(),
        "Node": NODE_NAME,
        "Address": node_address,
        "Datacenter": DATACENTER,
        "TaggedAddresses": {"lan": node_address, "wan": node_address},
        "NodeMeta": {},
        "ServiceKind": "",
        "ServiceID": id,
        "ServiceName": name,
        "ServiceTags": tags,
        "ServiceAddress": address,
        "ServiceTaggedAddresses": tagged_addresses(address, *port),
        "ServiceWeights": {"Passing": 1, "Warning": 1},
        "ServiceMeta": meta,
        "ServicePort": port,
        "ServiceEnableTagOverride": false,
        "CreateIndex": service.create_index,
        "ModifyIndex": service.modify_index,
    })
}

fn health_json(api: &Api, catalog: &Catalog, service: &Service) -> Value {
    let ServiceDefinition { id, name, tags, address, port, meta } = &service.definition;
    let checks = catalog.checks_of(id).map(|check| check_json(catalog, check));
    json!({
        "Node": node_json(api),
        "Service": {
            "ID": id,
            "Service": name,
            "Tags": tags,
            "Address": address,
            "TaggedAddresses": tagged_addresses(address, *port),
            "Meta": meta,
            "Port": port,
            "Weights": {"Passing": 1, "Warning": 1},
            "EnableTagOverride": false,
            "CreateIndex": service.create_index,
            "ModifyIndex": service.modify_index,
        },
        "Checks": std::iter::once(node_check_json()).chain(checks).collect::<Vec<_>>(),
    })
}

fn node_json(api: &Api) -> Value {
    let address = api.address.ip().to_string();
    json!({
        "ID": api.core.node_id(),
        "Node": NODE_NAME,
        "Address": address,
        "Datacenter": DATACENTER,
        "TaggedAddresses": {"lan": address, "wan": address},
        "Meta": {},
        "CreateIndex": NODE_INDEX,
        "ModifyIndex": NODE_INDEX,
    })
}

fn node_check_json() -> Value {
    json!({
        "Node": NODE_NAME,
        "CheckID": NODE_CHECK_ID,
        "Name": "Serf Health Status",
        "Status": Status::Passing,
        "Notes": "",
        "Output": "Agent alive and reachable",
        "ServiceID": "",
        "ServiceName": "",
        "ServiceTags": [],
        "Type": "",
        "Definition": {},
        "CreateIndex": NODE_INDEX,
        "ModifyIndex": NODE_INDEX,
    })
}

pub(super) fn check_json(catalog: &Catalog, check: &Check) -> Value {
    let service = catalog.service(&check.service_id).map(|service| &service.definition);
    json!({
        "Node": NODE_NAME,
        "CheckID": check.definition.id,
        "Name": check.definition.name,
        "Status": check.status,
        "Notes": check.definition.notes,
        "Output": check.output,
        "ServiceID": check.service_id,
        "ServiceName": service.map_or("", |service| service.name.as_str()),
        "ServiceTags": service.map_or(&[][..], |service| &service.tags),
        "Type": "ttl",
        "Definition": {},
        "CreateIndex": check.create_index,
        "ModifyIndex": check.modify_index,
    })
}

/// The addresses by which others can reach a service, for clients that look there.
pub(super) fn tagged_addresses(address: &str, port: u16) -> Value {
    if address.parse::<Ipv4Addr>().is_err() {
        return json!({});
    }
    let address = json!({"Address": address, "Port": port});
    json!({"lan_ipv4": address, "wan_ipv4": address})
}
