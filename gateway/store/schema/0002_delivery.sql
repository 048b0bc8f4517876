-- What caps took and was not yet told as a `loss` event: one open range per lane.
CREATE TABLE shed (lane TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, reason TEXT NOT NULL,
    since_ms INTEGER NOT NULL) WITHOUT ROWID;

-- Events that a platform refused for good (HTTP 4xx).
CREATE TABLE dead (uplink TEXT NOT NULL, lane TEXT NOT NULL, seq INTEGER NOT NULL, at_ms INTEGER NOT NULL, status TEXT NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (uplink, lane, seq)) WITHOUT ROWID;

-- When each alarm passed each stage: received, committed, acked, published:<uplink>, delivered:<uplink>, undelivered:<uplink>.
CREATE TABLE trace (id TEXT NOT NULL, stage TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (id, stage)) WITHOUT ROWID;

-- The first sequence of each lane in each boot: tells which boot an event belongs to without a column per row.
CREATE TABLE boot (boot INTEGER PRIMARY KEY, alarm INTEGER NOT NULL, state INTEGER NOT NULL, telemetry INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL);

-- What the platform wants of the registry, by version; the newest row is in force.
CREATE TABLE desired (version INTEGER PRIMARY KEY, patch TEXT NOT NULL, uplink TEXT NOT NULL, at_ms INTEGER NOT NULL);
