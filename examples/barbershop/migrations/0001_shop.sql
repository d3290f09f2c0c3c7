-- The shop itself: one row, because every shop has a database of its own.
CREATE TABLE shop (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    name         TEXT    NOT NULL DEFAULT 'A new barbershop',
    tagline      TEXT    NOT NULL DEFAULT 'Opening soon.',
    address      TEXT    NOT NULL DEFAULT '',
    paper        TEXT    NOT NULL DEFAULT '#f4f4f2',
    ink          TEXT    NOT NULL DEFAULT '#1d1f21',
    accent       TEXT    NOT NULL DEFAULT '#3d5a80',
    slot_minutes INTEGER NOT NULL DEFAULT 30 CHECK (slot_minutes BETWEEN 10 AND 240),
    opened_on    TEXT
);

INSERT INTO shop (id) VALUES (1);
