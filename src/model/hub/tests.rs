//! Downloads from a hub on loopback.

use std::fs;
use std::time::Duration;

use stateset_domain::Artifact;
use stateset_models::{Pretrained, Storage};
use stateset_testkit::{HubConduct, HubServer};
use tempfile::TempDir;

use super::super::{BUILTIN, ModelName, load};
use super::*;

struct Lab {
    server: HubServer,
    hub: Hub,
    home: TempDir,
    model: Pretrained,
}

/// A hub with the built-in model, in two files of weights or in one, among files that nobody needs.
fn lab(most_bytes: usize) -> Lab {
    let model = load(BUILTIN).unwrap();
    let files = model.to_files(&model.weights.to_tensors(), Storage { most_bytes, ..Storage::default() }).unwrap();
    let mut files: Vec<_> = files.into_iter().map(|Artifact { name, bytes }| (name, bytes)).collect();
    for name in ["README.md", "modeling_own.py", "pytorch_model.bin", "original/w.safetensors"] {
        files.push((name.into(), b"not needed".to_vec()));
    }
    lab_of(model, files)
}

fn lab_of(model: Pretrained, files: Vec<(String, Vec<u8>)>) -> Lab {
    let (server, home) = (HubServer::start(files), tempfile::tempdir().unwrap());
    let mut settings = Settings::read(|name| match name {
        "HF_ENDPOINT" => Some(server.endpoint()),
        "HF_HOME" => Some(home.path().to_string_lossy().into_owned()),
        "HF_TOKEN" => Some("hf_secret".into()),
        _ => None,
    })
    .unwrap();
    settings.pause = Duration::ZERO;
    Lab { server, hub: Hub { settings }, home, model }
}

fn repo(name: &str) -> Repo {
    match ModelName::parse(name).unwrap() {
        ModelName::Hub(repo) => repo,
        other => panic!("{other:?} is not of the hub"),
    }
}

const WHOLE: usize = usize::MAX;

impl Lab {
    fn fetch(&self) -> Result<PathBuf, HubError> {
        self.hub.fetch(&repo("org/name"))
    }

    /// What the errors of Rust look like to whoever reads them.
    fn refused(&self) -> String {
        self.fetch().unwrap_err().to_string()
    }

    fn assert_whole(&self, folder: &std::path::Path) {
        let loaded = Pretrained::from_folder(folder).unwrap();
        assert_eq!(loaded.weights.to_tensors(), self.model.weights.to_tensors());
    }

    /// How many requests for files of weights came, and for what parts.
    fn ranges(&self) -> Vec<Option<String>> {
        let weights = self.server.asked().into_iter().filter(|it| it.path.ends_with(".safetensors"));
        weights.map(|it| it.range).collect()
    }
}

#[test]
fn a_model_is_downloaded_once_into_the_layout_of_the_common_cache() {
    let lab = lab(400_000);
    let folder = lab.fetch().unwrap();
    lab.assert_whole(&folder);
    let cache = lab.home.path().join("hub/models--org--name");
    assert_eq!(folder, cache.join("snapshots").join(HubServer::COMMIT));
    assert_eq!(fs::read_to_string(cache.join("refs/main")).unwrap(), HubServer::COMMIT);
    assert!(fs::read_link(folder.join("config.json")).unwrap().starts_with("../../blobs"));
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strangers: Vec<_> =
        names.filter(|name| name.ends_with(".py") || name.ends_with(".bin") || name == "README.md").collect();
    assert_eq!(strangers, [""; 0], "only what is needed");
    let asked = lab.server.asked();
    assert!(asked.iter().all(|it| it.authorization.as_deref() == Some("Bearer hf_secret")));
    assert_eq!(lab.fetch().unwrap(), folder);
    assert_eq!(lab.server.asked().len(), 1, "the second time only what there is is asked");
}

#[test]
fn what_is_cached_is_used_offline_and_while_the_hub_is_away() {
    let mut lab = lab(WHOLE);
    let folder = lab.fetch().unwrap();
    lab.server.behave(HubConduct { status: Some(503), ..HubConduct::default() });
    assert_eq!(lab.fetch().unwrap(), folder);
    lab.hub.settings.endpoint = "http://127.0.0.1:1".into();
    assert_eq!(lab.fetch().unwrap(), folder);
    lab.hub.settings.offline = true;
    assert_eq!(lab.fetch().unwrap(), folder);
    assert_eq!(lab.hub.cached(&repo(&format!("org/name@{}", HubServer::COMMIT))).unwrap(), folder);
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    assert!(lab.refused().contains("tokenizer.json is missing"));
}

#[test]
fn offline_without_a_copy_says_where_it_looked_and_what_to_do() {
    let mut lab = lab(WHOLE);
    lab.hub.settings.offline = true;
    let error = lab.refused();
    assert!(error.contains("org/name is not in the cache") && error.contains("HF_HUB_OFFLINE is set"), "{error}");
    assert!(error.contains("give its folder"), "{error}");
    assert!(lab.server.asked().is_empty(), "nobody was asked");
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let lab = lab(WHOLE);
    lab.server.behave(HubConduct { cut_after: Some(300_000), ..HubConduct::default() });
    lab.assert_whole(&lab.fetch().unwrap());
    let ranges = lab.ranges();
    assert!(ranges.len() > 2, "it broke off: {ranges:?}");
    assert_eq!(ranges[..3], [None, Some("bytes=300000-".into()), Some("bytes=600000-".into())]);
}

#[test]
fn what_an_earlier_process_left_is_taken_up_and_a_server_without_ranges_starts_again() {
    for ignores_ranges in [false, true] {
        let lab = lab(WHOLE);
        let http = Http::new(&lab.hub.settings).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listing = runtime.block_on(Listing::of(&http, &repo("org/name"))).unwrap();
        let weights = listing.model("org/name").unwrap().into_iter().find(|it| it.name == "model.safetensors").unwrap();
        let blob = Cache::new(&lab.hub.settings.cache, &repo("org/name")).blob(&weights.blob);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        let bytes = stateset_models::write_tensors(&lab.model.weights.to_tensors()).unwrap();
        fs::write(blob.with_extension("incomplete"), &bytes[..1000]).unwrap();
        lab.server.behave(HubConduct { ignores_ranges, ..HubConduct::default() });
        lab.assert_whole(&lab.fetch().unwrap());
        assert_eq!(lab.ranges(), [Some("bytes=1000-".into())]);
    }
}

#[test]
fn weights_with_another_checksum_are_thrown_away() {
    let lab = lab(WHOLE);
    lab.server.behave(HubConduct { spoilt: Some("model.safetensors"), ..HubConduct::default() });
    let error = lab.refused();
    assert!(error.contains("model.safetensors of org/name arrived with SHA-256"), "{error}");
    lab.hub.cached(&repo("org/name")).unwrap_err();
    lab.server.behave(HubConduct::default());
    lab.assert_whole(&lab.fetch().unwrap());
}

#[test]
fn a_gated_model_and_a_missing_one_are_told_with_the_way_out() {
    let lab = lab(WHOLE);
    for status in [401, 403] {
        lab.server.behave(HubConduct { file_status: Some(status), ..HubConduct::default() });
        let error = lab.refused();
        assert!(error.contains(&format!("refuses org/name ({status}")), "{error}");
        let page = format!("{}/org/name", lab.server.endpoint());
        for way in ["Accept its licence at ", &page, "HF_TOKEN", "the present one may not", "give its folder"] {
            assert!(error.contains(way), "{way}: {error}");
        }
        assert!(!error.contains("hf_secret"), "{error}");
    }
    lab.server.behave(HubConduct::default());
    let error = lab.hub.fetch(&repo("org/other@v2")).unwrap_err().to_string();
    assert!(error.contains("the hub has no org/other at revision v2"), "{error}");
}

#[test]
fn a_repository_without_safetensors_is_refused_before_anything_is_downloaded() {
    let file = |name: &str| (name.to_owned(), b"{}".to_vec());
    for (weights, why) in
        [("pytorch_model.bin", "is pickled"), ("m.Q4.gguf", "is GGUF"), ("notes.md", "has no model.safetensors")]
    {
        let lab = lab_of(load(BUILTIN).unwrap(), vec![file("config.json"), file("tokenizer.json"), file(weights)]);
        let error = lab.refused();
        assert!(error.contains(why), "{error}");
        assert_eq!(lab.server.asked().len(), 1);
    }
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    let index = br#"{"weight_map":{"w":"../../x.safetensors"}}"#.to_vec();
    let files = ["config.json", "tokenizer.json"].map(|name| (name.to_owned(), b"{}".to_vec()));
    let files = files.into_iter().chain([("model.safetensors.index.json".to_owned(), index)]).collect();
    let error = lab_of(load(BUILTIN).unwrap(), files).refused();
    assert!(error.contains("tensor w is said to be in \"../../x.safetensors\""), "{error}");
}
