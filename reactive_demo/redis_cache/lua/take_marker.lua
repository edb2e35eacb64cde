-- Take a node's marker for a new lease, unless it has changed since it was read.
--
-- KEYS[1]  the marker, or the feed's hash
-- ARGV     the token:sequence that was read ('' for none), the new one ('' to remove the marker),
--          epoch, incarnation, cursor ('' for none), the slots of all markers of the lease
-- returns  1, or -1 if another leader was faster
local marker = KEYS[1]
local read, fence, epoch, incarnation, cursor, markers = unpack(ARGV)
if (redis.call('HGET', marker, 'fence') or '') ~= read then return -1 end
if fence == '' then
    redis.call('DEL', marker)
    return 1
end
redis.call('HDEL', marker, 'cursor')
redis.call('HSET', marker, 'fence', fence, 'epoch', epoch, 'incarnation', incarnation,
    'markers', markers, 'alive', redis.call('TIME')[1])
if cursor ~= '' then redis.call('HSET', marker, 'cursor', cursor) end
return 1
