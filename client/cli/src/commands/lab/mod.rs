//! `kvclient lab`: strategies side by side, without a cluster.

mod arguments;
mod pattern;
mod text;

use std::fs::File;
use std::io::BufReader;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, stream};
use kv_lab::picture::{self, Folder, Picture, Rendered};
use kv_lab::report::{Cluster, Report};
use kv_lab::{Candidate, Experiment, Keys, Trial};
use kv_placement::{Cache, StrategyHost};
use kv_rebalance::LiveCluster;
use kvclient::ClientError;

pub(crate) use self::arguments::Lab;
use crate::blocking::blocking;
use crate::failure::Failure;
use crate::input::stdin;
use crate::lines::BUFFER_BYTES;
use crate::output;
use crate::session::Session;

impl Lab {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        if session.config.strategy.is_some() {
            let problem = "lab tries the strategies that are listed, such as `kvclient lab hrw`: leave \
                           --strategy out";
            return Err(Failure::Usage(problem.into()));
        }
        let folder = self.pictures.as_deref().map(make_folder).transpose()?;
        let mut candidates = self.candidates().map_err(Failure::Usage)?;
        let live = match self.from_cluster {
            true => Some(LiveCluster::look(&session.config).await?),
            false => None,
        };
        let scenario = self.scenario(live.as_ref()).map_err(Failure::Usage)?;
        if cfg!(debug_assertions) {
            output::note("this is a development build: its times are those of slow code");
        }
        let mut experiment = Experiment::new(scenario);
        if let Some(live) = &live {
            experiment = experiment.with_current(live.owners.clone());
            if self.strategies.is_empty() {
                candidates = blocking({
                    let live = live.clone();
                    move || Ok(others(&live, candidates)?)
                })
                .await?;
            }
            candidates.insert(0, Candidate::of_cluster(live.strategy.clone(), live.config.clone()));
        }
        let keys = self.keys.clone();
        let (experiment, trials) = blocking(move || {
            if let Some(path) = keys {
                let keys = read_keys(&path, &experiment)?;
                experiment = experiment.with_keys(keys);
            }
            let trials =
                experiment.run(&candidates, &Cache::from_env()).map_err(ClientError::from)?;
            Ok((experiment, trials))
        })
        .await?;
        if session.is_json() {
            let cluster = live.map(|it| Cluster { name: it.name, uuid: it.uuid, epoch: it.epoch });
            output::json(&Report::new(&experiment, cluster, &trials))?;
        } else {
            let text = text::write(&experiment, live.as_ref(), &trials);
            output::data(text.as_bytes())?;
        }
        let failed = trials.iter().filter(|trial| trial.outcome.is_err()).count();
        let of = trials.len();
        if let Some(folder) = folder {
            draw(&folder, experiment, trials).await?;
        }
        if failed > 0 { Err(Failure::Lab { failed, of }) } else { Ok(()) }
    }
}

/// Those of `candidates` that are not just what places the cluster already.
fn others(live: &LiveCluster, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, ClientError> {
    let host = StrategyHost::new(Cache::from_env())?;
    let is_other = |candidate: &Candidate| {
        let is_same = candidate.digest(&host).is_ok_and(|it| it == live.strategy.digest());
        !is_same || candidate.config() != live.config
    };
    Ok(candidates.into_iter().filter(is_other).collect())
}

fn read_keys(path: &Path, experiment: &Experiment) -> Result<Keys, Failure> {
    let partitions = experiment.scenario().partitions();
    let unusable = |problem: &dyn std::fmt::Display| {
        Failure::Usage(format!("the keys in {}: {problem}", path.display()))
    };
    let keys = if path == Path::new("-") {
        Keys::read(stdin()?.lock(), partitions)
    } else {
        let file = File::open(path).map_err(|error| unusable(&error))?;
        Keys::read(BufReader::with_capacity(BUFFER_BYTES, file), partitions)
    };
    keys.map_err(|error| unusable(&error))
}

fn make_folder(path: &Path) -> Result<Folder, Failure> {
    let unusable = |error| Failure::local(format_args!("{} cannot be made", path.display()), error);
    Folder::make(path).map_err(unusable)
}

/// Draws all pictures, as many at once as the machine can, and writes each as soon as it is there.
async fn draw(folder: &Folder, experiment: Experiment, trials: Vec<Trial>) -> Result<(), Failure> {
    let pictures = blocking(move || Ok(picture::all(&experiment, &trials))).await?;
    let parallel = std::thread::available_parallelism().map_or(1, NonZero::get);
    let rendered = stream::iter(pictures).map(|picture: Picture| {
        let picture = Arc::new(picture);
        blocking(move || picture.render().map_err(|error| Failure::Usage(error.to_string())))
    });
    let mut rendered = std::pin::pin!(rendered.buffered(parallel));
    let mut written = 0;
    while let Some(picture) = rendered.next().await {
        let picture: Rendered = picture?;
        // In one go, so that an interruption leaves no temporary file.
        tokio::task::block_in_place(|| folder.write(&picture)).map_err(|error| {
            Failure::local(format_args!("{} cannot be written to", folder.path().display()), error)
        })?;
        written += 1;
    }
    output::note(&format!(
        "wrote {written} pictures, each as SVG and PNG, to {}",
        folder.path().display()
    ));
    Ok(())
}
