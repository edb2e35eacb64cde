#!lua flags=allow-cross-slot-keys
-- Stands before each script of ours that runs on a node of a cluster: the script itself is the same.
--
-- Such a script may declare keys of one slot only, and use any others that its node holds. So it
-- declares the node's marker, which takes the place of the feed's hash, and the rest are arguments.
--
-- KEYS[1]  the node's marker
-- ARGV     how many keys there are, the keys, and then the script's own arguments
local keys, arguments, count = {}, {}, tonumber(ARGV[1])
for i = 1, count do keys[i] = ARGV[i + 1] end
for i = count + 2, #ARGV do arguments[i - count - 1] = ARGV[i] end
local KEYS, ARGV = keys, arguments
