//! The registry's file: what comes back, what a failed write leaves, and what damage looks like.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::{
    super::{CorsPolicy, Epoch, KeyHash, Status, TenantKey, TenantLimits},
    *,
};

struct Place {
    directory: tempfile::TempDir,
    key: SealKey,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = SealKey::make(&directory.path().join("seal.key")).unwrap();
        Self { directory, key }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("registry.db")
    }

    async fn open(&self) -> Store {
        Store::open(&self.path()).await.unwrap()
    }

    async fn problem(&self) -> String {
        Store::open(&self.path()).await.unwrap_err().to_string()
    }
}

fn id(text: &str) -> TenantId {
    text.parse().unwrap()
}

/// A tenant with something in every field.
fn full(name: &str) -> Tenant {
    let mut tenant = Tenant::new(id(name));
    tenant.origins = ["https://z.example", "https://*.a.example:8443"]
        .map(|origin| origin.replace("example", &format!("{name}.example")).parse().unwrap())
        .to_vec();
    tenant.hosts =
        vec![format!("z.{name}.example").parse().unwrap(), format!("a.{name}.example").parse().unwrap()];
    tenant.database = Some(format!("sqlite://shops/{name}.db").parse().unwrap());
    tenant.backend = Some("api".into());
    tenant.status = Status::Paused;
    tenant.cors =
        Some(CorsPolicy { credentials: true, max_age: Duration::from_secs(61), ..Default::default() });
    tenant.limits = TenantLimits { in_flight_max: Some(7), connections_min: Some(0), ..Default::default() };
    tenant.keys = ["z", "a"]
        .map(|key| TenantKey {
            name: key.into(),
            hash: KeyHash::of(&format!("{name}{key}")),
            created_unix_s: 1_800_000_000,
        })
        .to_vec();
    tenant.declared = true;
    tenant
}

fn put(tenants: impl IntoIterator<Item = Tenant>) -> Batch {
    Batch { put: tenants.into_iter().map(Arc::new).collect(), gone: Vec::new() }
}

#[tokio::test]
async fn everything_of_record_comes_back_after_a_restart() {
    let place = Place::new();
    let (full, bare) = (full("full"), Tenant::new(id("bare")));
    let store = place.open().await;
    let written = store.write(&place.key, &put([full.clone(), bare.clone()]), 0).await.unwrap();
    assert_eq!(written, Written::Done(1));
    store.close().await;

    let loaded = place.open().await.load(&place.key).await.unwrap();
    assert_eq!(loaded.revision, 1);
    assert_eq!(loaded.tenants.len(), 2);
    assert!(loaded.tenants[0].same_record(&bare), "{:?}", loaded.tenants[0]);
    assert!(loaded.tenants[1].same_record(&full), "{:?}", loaded.tenants[1]);
}

#[tokio::test]
async fn a_batch_moves_an_origin_from_one_tenant_to_another_and_removes_a_third() {
    let place = Place::new();
    let store = place.open().await;
    let (mut a, mut b) = (full("a"), full("b"));
    store.write(&place.key, &put([a.clone(), b.clone(), full("c")]), 0).await.unwrap();
    std::mem::swap(&mut a.origins, &mut b.origins);
    let batch = Batch { gone: vec![id("c")], ..put([a.clone(), b.clone()]) };
    store.write(&place.key, &batch, 1).await.unwrap();
    let loaded = store.load(&place.key).await.unwrap();
    assert_eq!(loaded.tenants.len(), 2);
    assert!(loaded.tenants[0].same_record(&a) && loaded.tenants[1].same_record(&b));
}

#[tokio::test]
async fn a_write_over_anothers_write_changes_nothing() {
    let place = Place::new();
    let (ours, theirs) = (place.open().await, place.open().await);
    theirs.write(&place.key, &put([full("a")]), 0).await.unwrap();
    assert_eq!(ours.write(&place.key, &put([full("b")]), 0).await.unwrap(), Written::Stale);
    let loaded = ours.load(&place.key).await.unwrap();
    assert_eq!((loaded.tenants.len(), loaded.tenants[0].id.as_str()), (1, "a"));
}

#[tokio::test]
async fn a_batch_that_fails_midway_is_rolled_back_whole() {
    let place = Place::new();
    let store = place.open().await;
    store.write(&place.key, &put([full("a")]), 0).await.unwrap();
    let mut thief = full("b");
    thief.origins = full("a").origins;
    store.write(&place.key, &put([full("c"), thief]), 1).await.unwrap_err();
    let loaded = store.load(&place.key).await.unwrap();
    assert_eq!((loaded.tenants.len(), loaded.revision), (1, 1));
}

#[tokio::test]
async fn the_file_holds_no_database_url_and_is_private_from_creation() {
    let place = Place::new();
    let directory = place.directory.path().join("made/by/us");
    let path = directory.join("registry.db");
    let store = Store::open(&path).await.unwrap();
    store.write(&place.key, &put([full("acme")]), 0).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut files = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let content = fs::read(&path).unwrap();
        assert!(!content.windows(13).any(|bytes| bytes == b"shops/acme.db"), "{}", path.display());
        files += 1;
    }
    assert!(files >= 2, "no write-ahead log was looked at");
    assert_eq!(mode(&directory), 0o700);
}

#[tokio::test]
async fn a_registry_that_others_can_read_is_made_private() {
    let place = Place::new();
    place.open().await.close().await;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).unwrap();
    place.open().await;
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_damaged_foreign_newer_or_unreadable_registry_is_one_problem_with_its_remedy() {
    let place = Place::new();
    fs::write(place.path(), "this is no database, but it is long enough to be taken for one").unwrap();
    assert!(place.problem().await.contains("gateway restore"));

    fs::remove_file(place.path()).unwrap();
    let store = place.open().await;
    store.write(&place.key, &put((0..200).map(|number| full(&format!("t{number}")))), 0).await.unwrap();
    store.close().await;
    let good = fs::read(place.path()).unwrap();
    let mut bad = good.clone();
    bad[4096 * 2..4096 * 6].fill(0xa5);
    fs::write(place.path(), &bad).unwrap();
    assert!(place.problem().await.contains("is damaged"));
    fs::write(place.path(), &good[..good.len() / 2]).unwrap();
    assert!(place.problem().await.contains("is damaged"));

    fs::write(place.path(), &good).unwrap();
    let store = place.open().await;
    migrated_by_a_later_program(&store, "DROP TABLE tenant_key; PRAGMA user_version = 9999;").await.unwrap();
    store.close().await;
    assert!(place.problem().await.contains("newer gateway"));

    fs::remove_file(place.path()).unwrap();
    let foreign = SqliteConnectOptions::new().filename(place.path()).create_if_missing(true);
    let foreign = SqlitePool::connect_with(foreign).await.unwrap();
    sqlx::query("CREATE TABLE shop (id)").execute(&foreign).await.unwrap();
    foreign.close().await;
    assert!(place.problem().await.contains("another program"));

    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    assert!(place.problem().await.contains("cannot be opened"));
    let below_a_file = place.directory.path().join("seal.key/registry.db");
    assert!(Store::open(&below_a_file).await.unwrap_err().to_string().contains("cannot be opened"));
}

/// What a program does that knows one migration more than this one.
async fn migrated_by_a_later_program(store: &Store, sql: &'static str) -> Result<(), StoreProblem> {
    let later =
        Migration::new(9999, "later".into(), MigrationType::Simple, AssertSqlSafe(sql).into_sql_str(), false);
    let all = migrate::known().iter().cloned().chain([later]).collect();
    let mut connection = store.pool.acquire().await.unwrap();
    migrate::migrate(&mut connection, &store.path, Migrator::with_migrations(all)).await
}

#[tokio::test]
async fn a_program_that_is_put_back_works_on_with_a_registry_that_its_successor_has_added_to() {
    let place = Place::new();
    let added = "CREATE TABLE invoice (id TEXT PRIMARY KEY); ALTER TABLE tenant ADD COLUMN note TEXT;";
    let store = place.open().await;
    store.write(&place.key, &put([full("before")]), 0).await.unwrap();
    migrated_by_a_later_program(&store, added).await.unwrap();
    // What the successor was told meanwhile is not lost.
    store.write(&place.key, &put([full("meanwhile")]), 1).await.unwrap();
    store.close().await;

    let back = place.open().await;
    let written = back.write(&place.key, &put([full("after")]), 2).await.unwrap();
    assert_eq!(written, Written::Done(3));
    let names: Vec<String> =
        back.load(&place.key).await.unwrap().tenants.iter().map(|tenant| tenant.id.to_string()).collect();
    assert_eq!(names, ["after", "before", "meanwhile"]);
    // And the successor with it, when it comes again.
    migrated_by_a_later_program(&back, added).await.unwrap();
    back.close().await;
}

/// Does it take something away that an older program may look for, without saying so?
fn takes_away_in_silence(sql: &str) -> bool {
    let statements = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<String>();
    let takes = ["DROP ", "RENAME "].iter().any(|word| statements.to_ascii_uppercase().contains(word));
    takes && !statements.contains("PRAGMA user_version")
}

#[test]
fn migrations_only_add_or_say_what_they_take_away() {
    assert!(takes_away_in_silence("alter table tenant drop column note;"));
    assert!(takes_away_in_silence("ALTER TABLE tenant RENAME TO shop;"));
    assert!(!takes_away_in_silence("-- DROP nothing\nALTER TABLE tenant ADD COLUMN note TEXT;"));
    assert!(!takes_away_in_silence("DROP TABLE tenant_key; PRAGMA user_version = 7;"));
    for migration in migrate::known().iter() {
        assert!(!takes_away_in_silence(migration.sql.as_str()), "{}", migration.description);
    }
}

/// After an upgrade that was taken back: whoever writes by hand is still told of every unknown word.
#[tokio::test]
async fn what_a_later_version_has_written_into_a_column_is_left_out() {
    let place = Place::new();
    let store = place.open().await;
    store.write(&place.key, &put([full("acme")]), 0).await.unwrap();
    for sql in [
        "UPDATE tenant SET limits = json_set(limits, '$.later', json('{\"a\": [1]}'))",
        "UPDATE tenant SET cors = json_set(cors, '$.later', 'x')",
    ] {
        sqlx::query(sql).execute(&store.pool).await.unwrap();
    }
    let loaded = store.load(&place.key).await.unwrap();
    assert!(loaded.tenants[0].same_record(&full_with(&loaded.tenants[0].epoch)));
    serde_json::from_str::<TenantLimits>("{\"later\": 1}").unwrap_err();
    serde_json::from_str::<CorsPolicy>("{\"later\": 1}").unwrap_err();
}

#[tokio::test]
async fn rows_that_make_no_sense_are_damage_and_not_guessed_at() {
    for (sql, word) in [
        ("UPDATE tenant SET limits = '{'", "acme"),
        ("UPDATE tenant SET limits = '{\"later\": 1, \"in_flight_max\": \"7\"}'", "invalid type"),
        ("UPDATE tenant SET cors = 'x'", "acme"),
        ("UPDATE tenant_host SET host = 'a/b'", "a/b"),
        ("DELETE FROM registry", "damaged"),
    ] {
        let place = Place::new();
        let store = place.open().await;
        store
            .write(
                &place.key,
                &put([Tenant { hosts: vec!["h.example".parse().unwrap()], ..full("acme") }]),
                0,
            )
            .await
            .unwrap();
        sqlx::query(sql).execute(&store.pool).await.unwrap();
        let problem = store.load(&place.key).await.unwrap_err().to_string();
        assert!(problem.contains("is damaged") && problem.contains(word), "{sql}: {problem}");
    }
}

#[tokio::test]
async fn an_origin_that_became_a_public_suffix_does_not_keep_the_gateway_from_starting() {
    let place = Place::new();
    let store = place.open().await;
    store.write(&place.key, &put([full("acme")]), 0).await.unwrap();
    sqlx::query("UPDATE tenant_origin SET origin = 'https://*.vercel.app' WHERE position = 0")
        .execute(&store.pool)
        .await
        .unwrap();
    let loaded = store.load(&place.key).await.unwrap();
    assert_eq!(loaded.tenants[0].origins, full("acme").origins[1..]);
}

#[tokio::test]
async fn a_sealed_url_moved_to_another_tenant_does_not_open() {
    let place = Place::new();
    let store = place.open().await;
    store.write(&place.key, &put([full("a"), full("b")]), 0).await.unwrap();
    sqlx::query("UPDATE tenant SET database_sealed = (SELECT database_sealed FROM tenant WHERE id = 'a')")
        .execute(&store.pool)
        .await
        .unwrap();
    let problem = store.load(&place.key).await.unwrap_err().to_string();
    assert!(problem.contains("tenant `b` does not open"), "{problem}");
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_says_so() {
    let place = Place::new();
    let store = place.open().await;
    store.write(&place.key, &put([full("a")]), 0).await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.pool).await.unwrap();
    let limit = format!("PRAGMA max_page_count = {}", pages + 1);
    sqlx::query(AssertSqlSafe(limit)).execute(&store.pool).await.unwrap();
    let many = put((0..500).map(|number| full(&format!("t{number}"))));
    let problem = store.write(&place.key, &many, 1).await.unwrap_err().to_string();
    assert!(problem.contains("full") && problem.contains("make room"), "{problem}");
    assert_eq!(store.load(&place.key).await.unwrap().tenants.len(), 1);
    assert_eq!(store.write(&place.key, &many, 1).await.unwrap(), Written::Done(2), "it did not recover");
}

#[tokio::test]
async fn a_failed_write_leaves_the_store_able_to_write() {
    let place = Place::new();
    let store = place.open().await;
    let mut thief = full("b");
    thief.origins = full("a").origins;
    for _ in 0..3 {
        store.write(&place.key, &put([full("a"), thief.clone()]), 0).await.unwrap_err();
    }
    assert_eq!(store.write(&place.key, &put([full("a")]), 0).await.unwrap(), Written::Done(1));
}

#[tokio::test]
async fn a_copy_is_whole_and_private_and_replaces_nothing() {
    let place = Place::new();
    let store = place.open().await;
    store.write(&place.key, &put([full("acme")]), 0).await.unwrap();
    let copy = place.directory.path().join("copy.db");
    store.copy_to(&copy).await.unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let loaded = Store::open(&copy).await.unwrap().load(&place.key).await.unwrap();
    assert!(loaded.tenants[0].same_record(&full_with(&loaded.tenants[0].epoch)));
    store.copy_to(&copy).await.unwrap_err();
}

fn full_with(epoch: &Epoch) -> Tenant {
    Tenant { epoch: *epoch, ..full("acme") }
}
