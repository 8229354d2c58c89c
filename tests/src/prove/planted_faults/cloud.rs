//! The same on servers that speak AWS's protocols. A lake there is not copied: faults that a repair mends are planted one after
//! the other.

use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use shardmill_connectors::aws::athena::{self, AthenaCatalog};
use shardmill_connectors::aws::s3::{self, S3Documents, S3Objects, S3Place};

use super::faults::{Fault, Part, plant};
use super::lake::{Lake, fill};
use super::{Figures, judge};
use crate::harness::Setup;
use crate::harness::cloud::{BUCKET, Cloud};

/// Events in the lake.
const EVENTS: u64 = 2_000;
/// What is planted.
const FAULTS: [Fault; 7] = [
    Fault::EntryDoubled,
    Fault::SegmentCopied,
    Fault::GenerationFlipped(Part::Middle),
    Fault::GenerationFlipped(Part::Footer),
    Fault::GenerationLost,
    Fault::Misplaced,
    Fault::Orphan,
];

/// The stores of a node that works there, past its proxies.
fn open(cloud: &Cloud, setup: &Setup) -> Result<Lake, String> {
    let place = |folder: &str| {
        format!("s3://{BUCKET}/{folder}")
            .parse::<S3Place>()
            .map_err(|_| format!("{folder} is no place in S3"))
    };
    let session = cloud.storage();
    let options = athena::Options::new("acme", &format!("s3://{BUCKET}/events"));
    Ok(Lake {
        setup: setup.clone(),
        documents: Arc::new(S3Documents::new(&session, place("state/")?, s3::Options::default())),
        objects: Arc::new(S3Objects::new(&session, place("events")?, s3::Options::default())),
        catalog: Arc::new(AthenaCatalog::new(&cloud.athena(), options)),
    })
}

/// Plants, judges, repairs; in the end the lake answers as in the beginning.
pub(super) async fn run(folder: &Path, seed: u64) -> Result<Figures, String> {
    let cloud = Cloud::start(2, seed).await?;
    let refusing = folder.join("aws.schema.json");
    let stream = format!("partition_by = \"event\"\nschema = {:?}", refusing.display().to_string());
    let mut setup = cloud.setup_of(folder, &stream, "");
    let longer = |config: String| {
        let config = config.replace("late_grace = \"1s\"", "late_grace = \"2h\"");
        config.replace("delete_grace = \"1s\"", "delete_grace = \"1h\"")
    };
    setup.config = setup.config.map(longer);
    let filled = fill(&setup, &refusing, (EVENTS, seed), &|| open(&cloud, &setup)).await?;
    let answer = Lake::answer(&setup).await?;
    let lake = open(&cloud, &setup)?;
    let (mut chance, mut figures) = (StdRng::seed_from_u64(seed), Figures::default());
    for fault in FAULTS {
        let named = |error: String| format!("{fault:?} on AWS: {error}");
        let expected = plant(fault, &lake, &filled.old, &mut chance).await.map_err(named)?;
        judge(&lake, &expected).await.map_err(named)?;
        figures.add(&expected);
    }
    match Lake::answer(&setup).await? == answer {
        true => Ok(figures),
        false => Err(format!("repaired, the lake on AWS does not answer {answer} any more")),
    }
}
