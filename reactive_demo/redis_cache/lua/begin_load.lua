-- Look a row up; on a miss, one caller is told to load it, and the others to wait.
--
-- KEYS     the feed's hash, the row's key, the key that its loader holds
-- ARGV     the caller's token, how long a load may take in ms
-- returns  'held' and the row (false for a deleted or absent one); or
--          'load' and the epoch, which the row is to be stored with; or 'wait'; or
--          'alone' if no listener has ever taken the lead here, or Redis was emptied since: nobody
--          would keep a stored row up to date, so each reads for himself
local feed, key, lock = unpack(KEYS)
local held = redis.pcall('HMGET', key, 'row', 'version')
if not held.err and (held[1] or held[2]) then return {'held', held[1]} end

local epoch = redis.call('HGET', feed, 'epoch')
if not epoch then return {'alone', false} end
if redis.call('SET', lock, ARGV[1], 'NX', 'PX', ARGV[2]) then return {'load', epoch} end
return {'wait', false}
