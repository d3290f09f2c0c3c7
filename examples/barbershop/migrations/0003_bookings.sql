-- UNIQUE is what keeps two customers out of one chair, however many workers there are.
CREATE TABLE bookings (
    id         INTEGER PRIMARY KEY,
    slot       TEXT NOT NULL UNIQUE CHECK (slot GLOB '????-??-??T??:??'),
    name       TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
);
