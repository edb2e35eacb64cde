// The one that follows for all tabs of this browser, and ends with the last of them; until then, it
// goes on following for a tab that crashed.
import { Streams } from "./streams.js"

const streams = new Streams()

self.onconnect = ({ ports: [port] }) => {
  port.onmessage = ({ data }) => {
    if (data.join !== undefined) streams.join(port, data.join, (told) => port.postMessage(told))
    else if (data.leave) streams.leave(port)
    else streams.open()
  }
}
