-- Add one to a column of a cached row, publish the row, and append a message to a stream if there is
-- one. Reply 0, having done nothing, if the row is not cached.
--
-- KEYS: the row [, the stream]
-- ARGV: the column [, the fields of the message and their values]

local row = redis.call('HGET', KEYS[1], 'row')
if not row then
    return 0
end
row = cjson.decode(row)
row[ARGV[1]] = row[ARGV[1]] + 1
redis.call('HSET', KEYS[1], 'row', cjson.encode(row))
redis.call('PUBLISH', KEYS[1], cjson.encode({ version = cjson.null, row = row }))
if KEYS[2] then
    redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
end
return 1
