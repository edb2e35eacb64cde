-- Return by the server's clock when now is, and when a leader last wrote (s; false if none did).
--
-- KEYS[1]  the feed's hash
return {redis.call('TIME')[1], redis.call('HGET', KEYS[1], 'alive')}
