-- Write what is newer, publish it, and move the cursor: all of it, or nothing.
--
-- KEYS     the feed's hash, then the rows' keys
-- ARGV     the token:sequence that must be there, the one to put there, epoch, life of a tombstone
--          in ms, cursor ('' to leave it), then for each key its version and its row ('' for a
--          deleted one), and the number of the database
-- returns  how many were newer, and how many of them not published; -1 if another token is there: a newer leader's, or none since Redis
--          was emptied, or an older one since Redis came back with older data
local feed = KEYS[1]
local fence, next_fence, epoch, life, cursor = unpack(ARGV, 1, 5)
if redis.call('HGET', feed, 'fence') ~= fence then return -1 end

local newer = 0
for i = 2, #KEYS do
    newer = newer + store(KEYS[i], epoch, ARGV[2 * i + 2], ARGV[2 * i + 3], life)
end
redis.call('HSET', feed, 'fence', next_fence, 'alive', redis.call('TIME')[1]) -- a sign of life
if cursor ~= '' then redis.call('HSET', feed, 'cursor', cursor) end
return {newer, unheard}
