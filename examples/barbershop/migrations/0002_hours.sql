-- Service hours by weekday, 0 is Sunday. A weekday without a row is closed.
CREATE TABLE hours (
    weekday INTEGER PRIMARY KEY CHECK (weekday BETWEEN 0 AND 6),
    opens   TEXT NOT NULL CHECK (opens  GLOB '[0-2][0-9]:[0-5][0-9]'),
    closes  TEXT NOT NULL CHECK (closes GLOB '[0-2][0-9]:[0-5][0-9]'),
    CHECK (opens < closes)
);

INSERT INTO hours (weekday, opens, closes) VALUES
    (0, '10:00', '14:00'),
    (1, '09:00', '19:00'),
    (2, '09:00', '19:00'),
    (3, '09:00', '19:00'),
    (4, '09:00', '19:00'),
    (5, '09:00', '20:00'),
    (6, '09:00', '18:00');
