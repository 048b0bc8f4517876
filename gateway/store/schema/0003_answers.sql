-- Where the platform wants the answers to a command: response topic and correlation data of MQTT 5.
ALTER TABLE command ADD COLUMN response_topic TEXT NOT NULL DEFAULT '';
ALTER TABLE command ADD COLUMN correlation BLOB NOT NULL DEFAULT x'';
