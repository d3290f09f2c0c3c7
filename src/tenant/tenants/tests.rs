//! Every order on tenants, on a real registry in a directory of its own.

use super::{
    super::{
        Clear, Conflict, DatabaseProblem, Declared, Door, DoorAddresses, TenantLimits, TenantSpec,
        TicketMode, TicketProblem, Tickets,
    },
    *,
};

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn paths(&self) -> TenantPaths {
        TenantPaths::below(self.directory.path(), &super::super::Config::default(), None)
    }

    async fn open(&self) -> Tenants {
        Tenants::open(self.paths()).await.unwrap()
    }
}

fn id(text: &str) -> TenantId {
    text.parse().unwrap()
}

fn new(name: &str) -> NewTenant {
    NewTenant {
        id: id(name),
        origins: vec![format!("https://{name}.example").parse().unwrap()],
        hosts: vec![format!("api.{name}.example").parse().unwrap()],
        database: Some(format!("sqlite://{name}.db").into()),
        backend: None,
        cors: None,
        limits: TenantLimits::default(),
    }
}

fn declared(name: &str) -> Declared {
    let NewTenant { id, origins, hosts, database, backend, cors, limits } = new(name);
    Declared { id, origins, hosts, database, database_file: None, backend, cors, limits }
}

fn epoch(tenants: &Tenants, name: &str) -> [u8; 16] {
    *tenants.registry().snapshot().by_id(name).unwrap().epoch.as_bytes()
}

/// What memory and disk hold, without what is secret.
async fn state(tenants: &Tenants) -> (Vec<TenantView>, Vec<TenantView>) {
    let loaded = tenants.core.store.load(&tenants.core.key).await.unwrap();
    (tenants.list(), loaded.tenants.iter().map(TenantView::from).collect())
}

#[tokio::test]
async fn an_added_tenant_is_served_at_once_and_after_a_restart() {
    let place = Place::new();
    let tenants = place.open().await;
    let mut watch = tenants.registry().watch();
    let view = tenants.add(new("acme")).await.unwrap();
    assert!(watch.has_changed().unwrap());
    watch.mark_unchanged();
    assert!(tenants.registry().snapshot().by_origin("https://acme.example").is_some());
    let before = epoch(&tenants, "acme");
    tenants.close().await;
    let again = place.open().await;
    assert_eq!((again.show(&id("acme")).unwrap(), epoch(&again, "acme")), (view, before));
}

#[tokio::test]
async fn what_the_registry_refuses_changes_neither_memory_nor_disk() {
    let tenants = Place::new();
    let tenants = tenants.open().await;
    tenants.add(new("acme")).await.unwrap();
    let before = state(&tenants).await;
    assert_eq!(before.0, before.1);
    let add = |change: fn(&mut NewTenant)| {
        let mut tenant = new("other");
        change(&mut tenant);
        tenants.add(tenant)
    };
    type Same = fn(&TenantError) -> bool;
    let checks: [(_, Same); 10] = [
        (add(|t| t.id = id("acme")).await, |e| matches!(e, TenantError::Exists(_))),
        (add(|t| t.origins = new("acme").origins).await, |e| conflict(e, "origin")),
        (
            add(|t| {
                t.origins =
                    vec!["https://*.example.org".parse().unwrap(), "https://acme.example".parse().unwrap()]
            })
            .await,
            |e| conflict(e, "origin"),
        ),
        (add(|t| t.hosts = new("acme").hosts).await, |e| conflict(e, "host")),
        (add(|t| t.database = Some("file:./acme.db".into())).await, |e| conflict(e, "database")),
        (add(|t| t.database = Some("mysql://root:hunter2@h/d".into())).await, |e| {
            !e.to_string().contains("hunter2")
                && matches!(e, TenantError::Database { problem: DatabaseProblem::NotYet(_), .. })
        }),
        (add(|t| t.limits.in_flight_max = Some(0)).await, |e| matches!(e, TenantError::Invalid { .. })),
        (add(|t| (t.limits.connections_min, t.limits.connections_max) = (Some(3), Some(2))).await, |e| {
            matches!(e, TenantError::Invalid { .. })
        }),
        (
            add(|t| {
                t.cors =
                    Some(CorsPolicy { credentials: true, headers: vec!["*".into()], ..Default::default() })
            })
            .await,
            |e| matches!(e, TenantError::Cors { .. }),
        ),
        (tenants.set(&id("nobody"), Change::default()).await, |e| matches!(e, TenantError::Unknown { .. })),
    ];
    for (number, (outcome, same)) in checks.into_iter().enumerate() {
        let error = outcome.unwrap_err();
        assert!(same(&error), "{number}: {error}");
    }
    assert_eq!(state(&tenants).await, before);
    tenants.add(new("other")).await.unwrap();
}

fn conflict(error: &TenantError, kind: &str) -> bool {
    let TenantError::Conflicts(conflicts) = error else { return false };
    conflicts.iter().all(|conflict| match conflict {
        Conflict::Origin { holder, .. } => kind == "origin" && holder.as_str() == "acme",
        Conflict::Host { holder, .. } => kind == "host" && holder.as_str() == "acme",
        Conflict::Database { holder, .. } => kind == "database" && holder.as_str() == "acme",
        Conflict::Covers { .. } | Conflict::Id(_) => false,
    })
}

#[tokio::test]
async fn a_wildcard_over_another_tenants_origin_is_refused_from_either_side() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.add(new("acme")).await.unwrap();
    let add = |origin: &str| Change { add_origins: vec![origin.parse().unwrap()], ..Change::default() };
    tenants.add(new("other")).await.unwrap();
    tenants.set(&id("acme"), add("https://*.acme.example")).await.unwrap();
    let error = tenants.set(&id("other"), add("https://shop.acme.example")).await.unwrap_err();
    assert!(
        matches!(&error, TenantError::Conflicts(all) if matches!(all[..], [Conflict::Covers { .. }])),
        "{error}"
    );
    tenants.set(&id("other"), add("https://shop.other.example")).await.unwrap();
    let error = tenants.set(&id("acme"), add("https://*.other.example")).await.unwrap_err();
    assert!(
        matches!(&error, TenantError::Conflicts(all) if matches!(all[..], [Conflict::Covers { .. }])),
        "{error}"
    );
}

#[tokio::test]
async fn set_changes_what_it_names_and_leaves_the_rest() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.update_defaults(Defaults { backends: vec!["api".into(), "beta".into()], ..Defaults::default() });
    tenants.add(new("acme")).await.unwrap();
    let change = Change {
        add_origins: vec!["https://new.example".parse().unwrap(), "https://acme.example".parse().unwrap()],
        remove_hosts: new("acme").hosts,
        backend: Some("api".into()),
        add_headers: vec!["X-Shop".into(), "Authorization".into()],
        add_methods: vec!["PURGE".into()],
        limits: Some(TenantLimits { in_flight_max: Some(5), ..Default::default() }),
        ..Change::default()
    };
    let view = tenants.set(&id("acme"), change).await.unwrap();
    let origins: Vec<_> = view.origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["https://acme.example", "https://new.example"]);
    assert!(view.hosts.is_empty() && view.backend.as_deref() == Some("api"));
    let cors = view.cors.clone().unwrap();
    assert!(
        cors.allows_header("x-shop") && cors.allows_header("content-type") && cors.allows_method("PURGE")
    );
    assert_eq!(cors.headers.iter().filter(|header| *header == "authorization").count(), 1);
    assert_eq!(view.database.as_deref(), Some("sqlite://acme.db"));

    let limits = Some(TenantLimits { connections_max: Some(9), ..Default::default() });
    let view = tenants.set(&id("acme"), Change { limits, ..Change::default() }).await.unwrap();
    assert_eq!((view.limits.in_flight_max, view.limits.connections_max), (Some(5), Some(9)));
    let clear = vec![Clear::Backend, Clear::Cors, Clear::Limits, Clear::Database];
    let view = tenants.set(&id("acme"), Change { clear, ..Change::default() }).await.unwrap();
    assert_eq!(
        (view.backend, view.cors, view.limits, view.database),
        (None, None, TenantLimits::default(), None)
    );

    let missing =
        Change { remove_origins: vec!["https://never.example".parse().unwrap()], ..Change::default() };
    assert!(tenants.set(&id("acme"), missing).await.unwrap_err().to_string().contains("no origin"));
    let unknown = Change { backend: Some("gamma".into()), ..Change::default() };
    assert!(tenants.set(&id("acme"), unknown).await.unwrap_err().to_string().contains("`api`, `beta`"));
}

#[tokio::test]
async fn suspension_rotation_removal_and_another_database_end_every_ticket_and_pausing_does_not() {
    let place = Place::new();
    let tenants = place.open().await;
    let tickets = Tickets::new(DoorAddresses { sqlite: Some(([127, 0, 0, 1], 4000).into()) });
    tenants.add(new("acme")).await.unwrap();
    let id = id("acme");
    let take = || {
        let snapshot = tenants.registry().snapshot();
        let issued = tickets.issue(snapshot.by_id("acme").unwrap(), TicketMode::Tenant, 0).unwrap();
        issued.url.to_str().unwrap().split_once("authToken=acme.").unwrap().1.to_owned()
    };
    let knock = |password: &str| {
        let snapshot = tenants.registry().snapshot();
        tickets.admit(&snapshot, Door::Sqlite, ("acme", password), 0).map(drop)
    };

    let ticket = take();
    tenants.pause(&id).await.unwrap();
    tenants
        .set(&id, Change { add_hosts: vec!["x.example".parse().unwrap()], ..Change::default() })
        .await
        .unwrap();
    tenants.resume(&id).await.unwrap();
    assert_eq!(
        (knock(&ticket), take()),
        (Ok(()), ticket.clone()),
        "a pause or an unrelated change ended a ticket"
    );

    tenants.suspend(&id).await.unwrap();
    assert_eq!(knock(&ticket), Err(TicketProblem::Invalid));
    assert_eq!(knock(&take()), Err(TicketProblem::Suspended));
    assert!(tenants.pause(&id).await.unwrap_err().to_string().contains("resume"));
    tenants.resume(&id).await.unwrap();
    assert_eq!(knock(&ticket), Err(TicketProblem::Invalid), "resuming brought a dead ticket back");

    let ticket = take();
    tenants.rotate(&id).await.unwrap();
    assert_eq!((knock(&ticket), knock(&take())), (Err(TicketProblem::Invalid), Ok(())));

    let ticket = take();
    let moved = Change { database: Some("sqlite://moved.db".into()), ..Change::default() };
    tenants.set(&id, moved).await.unwrap();
    assert_eq!(knock(&ticket), Err(TicketProblem::Invalid));

    let ticket = take();
    tenants.remove(&id).await.unwrap();
    assert_eq!(knock(&ticket), Err(TicketProblem::Invalid));
    tenants.add(new("acme")).await.unwrap();
    assert_eq!(knock(&ticket), Err(TicketProblem::Invalid), "a namesake took over a ticket");
}

#[tokio::test]
async fn a_key_is_shown_once_stored_hashed_and_names_its_tenant() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.add(new("acme")).await.unwrap();
    let key = tenants.key_add(&id("acme"), "mobile-app").await.unwrap();
    let snapshot = tenants.registry().snapshot();
    assert_eq!(snapshot.by_key(&KeyHash::of(&key)).unwrap().id, id("acme"));
    drop(snapshot);
    assert_ne!(tenants.key_add(&id("acme"), "other").await.unwrap(), key);
    let shown = serde_json::to_string(&tenants.list()).unwrap() + &format!("{:?}", tenants.registry());
    assert!(!shown.contains(&key) && shown.contains("mobile-app"));
    for file in std::fs::read_dir(place.directory.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!content.windows(key.len()).any(|bytes| bytes == key.as_bytes()));
    }
    let names: Vec<_> = tenants.key_list(&id("acme")).unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["mobile-app", "other"]);
    let again = tenants.key_add(&id("acme"), "mobile-app").await.unwrap_err();
    assert!(matches!(again, TenantError::KeyExists { .. }));
    for bad in ["", "a b", "x\n", &"x".repeat(65)] {
        tenants.key_add(&id("acme"), bad).await.unwrap_err();
    }
    tenants.key_remove(&id("acme"), "mobile-app").await.unwrap();
    assert!(tenants.registry().snapshot().by_key(&KeyHash::of(&key)).is_none());
    let again = tenants.key_remove(&id("acme"), "mobile-app").await.unwrap_err();
    assert!(matches!(again, TenantError::KeyUnknown { .. }));
}

#[tokio::test]
async fn a_reload_adds_updates_and_removes_declared_tenants_and_leaves_the_others() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.add(new("manual")).await.unwrap();
    let report = tenants.declare(vec![declared("a"), declared("b")], Defaults::default()).await.unwrap();
    assert_eq!(report.added, [id("a"), id("b")]);
    let key = tenants.key_add(&id("a"), "app").await.unwrap();
    tenants.suspend(&id("a")).await.unwrap();
    let (kept, files) = (epoch(&tenants, "a"), place.directory.path().join("tenants"));
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("b.db"), "data").unwrap();

    let mut watch = tenants.registry().watch();
    let report = tenants.declare(vec![declared("a"), declared("b")], Defaults::default()).await.unwrap();
    assert_eq!(report.unchanged, [id("a"), id("b")]);
    assert!(!watch.has_changed().unwrap(), "a reload without a change was announced as one");
    watch.mark_unchanged();

    let mut changed = declared("a");
    changed.origins.push("https://second.example".parse().unwrap());
    let report = tenants.declare(vec![changed, declared("c")], Defaults::default()).await.unwrap();
    assert_eq!((report.added, report.changed, report.removed), (vec![id("c")], vec![id("a")], vec![id("b")]));
    let snapshot = tenants.registry().snapshot();
    let a = snapshot.by_origin("https://second.example").unwrap();
    assert_eq!((a.status, a.epoch.as_bytes()), (Status::Suspended, &kept), "a reload lifted a suspension");
    assert!(snapshot.by_key(&KeyHash::of(&key)).is_some());
    assert!(snapshot.by_id("manual").is_some() && snapshot.by_id("b").is_none());
    assert!(files.join("b.db").exists());
}

#[tokio::test]
async fn a_tenant_added_by_hand_becomes_the_files_with_its_keys_and_tickets() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.add(new("a")).await.unwrap();
    tenants.key_add(&id("a"), "app").await.unwrap();
    let before = epoch(&tenants, "a");
    let report = tenants.declare(vec![declared("a")], Defaults::default()).await.unwrap();
    assert_eq!((report.changed, report.added, report.adopted), (vec![id("a")], vec![], vec![id("a")]));
    let again = tenants.declare(vec![declared("a")], Defaults::default()).await.unwrap();
    assert_eq!(again.adopted, [], "it is taken over once");
    let view = tenants.show(&id("a")).unwrap();
    assert_eq!((view.declared, view.keys.len(), epoch(&tenants, "a")), (true, 1, before));
    assert!(tenants.export().is_empty());
}

#[tokio::test]
async fn a_bad_reload_changes_nothing() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.declare(vec![declared("a")], Defaults::default()).await.unwrap();
    let before = state(&tenants).await;
    let mut thief = declared("c");
    thief.origins = declared("b").origins;
    let twice = tenants.declare(vec![declared("b"), thief], Defaults::default()).await.unwrap_err();
    assert!(matches!(twice, TenantError::Conflicts(_)));
    let twice = tenants.declare(vec![declared("b"), declared("b")], Defaults::default()).await.unwrap_err();
    assert!(matches!(twice, TenantError::Conflicts(_)));
    let unread = Declared { database: None, database_file: Some("/x".into()), ..declared("a") };
    tenants.declare(vec![unread], Defaults::default()).await.unwrap_err();
    assert_eq!(state(&tenants).await, before);
}

#[tokio::test]
async fn a_declared_tenant_refuses_edits_of_what_the_file_says_and_takes_status_rotation_and_keys() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.declare(vec![declared("a")], Defaults::default()).await.unwrap();
    let id = id("a");
    for error in
        [tenants.set(&id, Change::default()).await.unwrap_err(), tenants.remove(&id).await.unwrap_err()]
    {
        assert!(error.to_string().contains("`[[tenant]]`") && error.to_string().contains("gateway reload"));
    }
    tenants.rotate(&id).await.unwrap();
    tenants.key_add(&id, "app").await.unwrap();
    tenants.pause(&id).await.unwrap();
    tenants.suspend(&id).await.unwrap();
    tenants.close().await;
    let again = place.open().await;
    assert_eq!(again.show(&id).unwrap().status, Status::Suspended);
    assert_eq!(again.resume(&id).await.unwrap().status, Status::Active);
}

#[tokio::test]
async fn an_export_applied_is_no_change_and_rebuilds_the_tenants_elsewhere() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let tenants = place.open().await;
    tenants.declare(vec![declared("file")], Defaults::default()).await.unwrap();
    for name in ["a", "b"] {
        tenants.add(new(name)).await.unwrap();
    }
    tenants.suspend(&id("b")).await.unwrap();
    let text = serde_json::to_string(&tenants.export()).unwrap();
    let specs = || serde_json::from_str::<Vec<TenantSpec>>(&text).unwrap();
    let report = tenants.apply(specs(), true).await.unwrap();
    assert_eq!((report.unchanged, report.removed), (vec![id("a"), id("b")], vec![]));

    let other = elsewhere.open().await;
    other.add(new("old")).await.unwrap();
    let report = other.apply(specs(), true).await.unwrap();
    assert_eq!((report.added, report.removed), (vec![id("a"), id("b")], vec![id("old")]));
    let ours: Vec<_> = tenants.list().into_iter().filter(|view| !view.declared).collect();
    assert_eq!(other.list(), ours);
}

#[tokio::test]
async fn apply_swaps_origins_between_tenants_and_leaves_declared_ones_and_unnamed_databases_alone() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.declare(vec![declared("file")], Defaults::default()).await.unwrap();
    tenants.add(new("a")).await.unwrap();
    tenants.add(new("b")).await.unwrap();
    let mut specs = tenants.export();
    let (left, right) = specs.split_at_mut(1);
    std::mem::swap(&mut left[0].origins, &mut right[0].origins);
    left[0].database = None;
    let report = tenants.apply(specs.clone(), true).await.unwrap();
    assert_eq!((report.changed, report.removed), (vec![id("a"), id("b")], vec![]));
    assert_eq!(tenants.registry().snapshot().by_origin("https://a.example").unwrap().id, id("b"));
    assert_eq!(tenants.show(&id("a")).unwrap().database.as_deref(), Some("sqlite://a.db"));

    let before = state(&tenants).await;
    specs[0].id = id("file");
    let error = tenants.apply(vec![specs.remove(0)], false).await.unwrap_err();
    assert!(matches!(error, TenantError::Declared(_)), "{error}");
    assert_eq!(state(&tenants).await, before);
}

#[tokio::test]
async fn an_order_whose_caller_goes_away_is_carried_out_whole() {
    let place = Place::new();
    let tenants = place.open().await;
    {
        let mut order = std::pin::pin!(tenants.add(new("acme")));
        // One poll hands the order over; then the caller is gone.
        assert!(futures_util::poll!(order.as_mut()).is_pending());
    }
    tenants.close().await;
    assert_eq!(tenants.list(), place.open().await.list());
    assert_eq!(tenants.list().len(), 1);
}

#[tokio::test]
async fn two_processes_on_one_registry_lose_nothing_and_still_refuse_conflicts() {
    let place = Place::new();
    let (one, two) = (place.open().await, place.open().await);
    one.add(new("a")).await.unwrap();
    let error = two.add(NewTenant { origins: new("a").origins, ..new("b") }).await.unwrap_err();
    assert!(matches!(error, TenantError::Conflicts(_)), "{error}");
    two.add(new("b")).await.unwrap();
    one.suspend(&id("b")).await.unwrap_err();
    one.add(new("c")).await.unwrap();
    assert_eq!(place.open().await.list(), one.list());
    assert_eq!(one.list().len(), 3);
}

#[tokio::test]
async fn many_orders_at_once_are_all_carried_out() {
    let place = Place::new();
    let tenants = place.open().await;
    let names: Vec<_> = (0..20).map(|number| format!("t{number}")).collect();
    let outcomes = futures_util::future::join_all(names.iter().map(|name| tenants.add(new(name)))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(place.open().await.list(), tenants.list());
}

#[tokio::test]
async fn a_lost_or_changed_sealing_key_is_said_and_never_replaced() {
    let place = Place::new();
    place.open().await.close().await;
    let file = place.paths().seal_key_file;
    let key = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let problem = Tenants::open(place.paths()).await.unwrap_err().to_string();
    assert!(problem.contains("restore that file") && !file.exists(), "{problem}");
    SealKey::make(&file).unwrap();
    let problem = Tenants::open(place.paths()).await.unwrap_err().to_string();
    assert!(problem.contains("sealed with a key that is not in"), "{problem}");
    std::fs::remove_file(&file).unwrap();

    // The same key as a systemd credential.
    let credentials = place.directory.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("seal.key"), key).unwrap();
    let config = super::super::Config::default();
    let paths = TenantPaths::below(place.directory.path(), &config, Some(&credentials));
    Tenants::open(paths).await.unwrap();
    assert!(!file.exists());
}

#[tokio::test]
async fn an_emptied_registry_is_told_from_a_new_one_by_the_key_beside_it() {
    let place = Place::new();
    let tenants = place.open().await;
    tenants.add(new("acme")).await.unwrap();
    tenants.close().await;
    let TenantPaths { registry_db, seal_key_file, .. } = place.paths();
    std::fs::write(&registry_db, "").unwrap();
    let problem = Tenants::open(place.paths()).await.unwrap_err().to_string();
    assert!(problem.contains("is empty") && problem.contains("gateway restore"), "{problem}");
    assert_eq!(std::fs::metadata(&registry_db).unwrap().len(), 0, "it was made anew all the same");
    // A first start that was cut short had no key yet.
    std::fs::remove_file(&seal_key_file).unwrap();
    assert!(place.open().await.list().is_empty());
}

#[tokio::test]
async fn a_host_that_serves_every_tenant_is_nobodys_own() {
    let place = Place::new();
    let tenants = place.open().await;
    let serving = |host: &str| Defaults {
        shared_hosts: [(host.parse().unwrap(), "backend `api`".to_owned())].into(),
        site_hosts: ["www.example".parse().unwrap()].into(),
        ..Defaults::default()
    };
    tenants.declare(vec![declared("file")], serving("shared.example")).await.unwrap();
    tenants.add(new("acme")).await.unwrap();
    let before = state(&tenants).await;
    let shared = || vec!["shared.example".parse().unwrap()];
    let spec = TenantSpec { hosts: shared(), ..tenants.export().remove(0) };
    let (change, id) = (Change { add_hosts: shared(), ..Change::default() }, id("acme"));
    let thief = Declared { hosts: shared(), ..declared("file") };
    for outcome in [
        tenants.add(NewTenant { hosts: shared(), ..new("other") }).await.map(drop),
        tenants.set(&id, change).await.map(drop),
        tenants.apply(vec![spec], false).await.map(drop),
        tenants.declare(vec![thief], serving("shared.example")).await.map(drop),
    ] {
        let text = outcome.unwrap_err().to_string();
        assert!(text.starts_with("host `shared.example` belongs to backend `api`"), "{text}");
    }
    // A configuration that takes a host which a tenant of record has: it does not count, and the remedy works.
    let wanted = || serving("api.acme.example");
    let error = tenants.declare(vec![declared("file")], wanted()).await.unwrap_err().to_string();
    assert!(error.ends_with("hint: `gateway tenant set acme --remove-host api.acme.example`"), "{error}");
    assert_eq!(state(&tenants).await, before);
    tenants.add(NewTenant { hosts: shared(), ..new("other") }).await.unwrap_err();
    let remove = Change { remove_hosts: new("acme").hosts, ..Change::default() };
    tenants.set(&id, remove).await.unwrap();
    tenants.declare(vec![declared("file")], wanted()).await.unwrap();
}
