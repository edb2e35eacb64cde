-- Return the identity of a feed's hash; the first to ask gives it one.
--
-- KEYS[1]  the feed's hash
-- ARGV     an identity, unless it has one
if not redis.call('HGET', KEYS[1], 'identity') then
    redis.call('HSET', KEYS[1], 'identity', ARGV[1])
end
return redis.call('HGET', KEYS[1], 'identity')
