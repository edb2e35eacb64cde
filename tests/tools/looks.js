// What only shows on the screen; `looks.py` calls these in the page.

function white(root) {
  return [root, ...root.querySelectorAll("*")].filter((part) => {
    const colour = getComputedStyle(part).backgroundColor.match(/[\d.]+/g).map(Number)
    const [red, green, blue, alpha = 1] = colour
    return alpha > 0.5 && Math.min(red, green, blue) > 200 && part.getBoundingClientRect().width > 40
  }).map((part) => part.className || part.tagName)
}

function textBoxes(part) {
  const words = document.createRange()
  words.selectNodeContents(part)
  return [...words.getClientRects()].filter((box) => box.width)
}

function wrapped(parts) {
  const isCut = (part) => part.clientWidth && part.scrollWidth > part.clientWidth + 1
    && getComputedStyle(part).overflow !== "visible"
  return parts.filter((part) => {
    const tops = textBoxes(part).map((box) => box.top).sort((a, b) => a - b)
    return isCut(part) || tops.at(-1) - tops[0] > 8
  }).map((part) => part.textContent)
}

function overlapping(parts) {
  const boxes = parts.flatMap((part) => textBoxes(part).map((box) => [part.textContent, box]))
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3
  return boxes.flatMap(([first, a], n) => boxes.slice(n + 1)
    .filter(([, b]) => meet(a, b)).map(([second]) => `${first} / ${second}`))
}

// Relative luminance, as WCAG defines it, of a colour that covers what is behind it.
function luminance(colour) {
  const [red, green, blue] = colour.match(/[\d.]+/g).map((part) => {
    const share = part / 255
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}

function faint(parts) {
  const seen = (part) => {
    const { backgroundColor } = getComputedStyle(part)
    return backgroundColor.startsWith("rgba") ? seen(part.parentElement) : backgroundColor
  }
  return parts.flatMap((part) => {
    const both = [getComputedStyle(part).color, seen(part)].map(luminance).sort((a, b) => b - a)
    const contrast = (both[0] + 0.05) / (both[1] + 0.05)
    return contrast < 4 ? [`${part.textContent}: ${contrast.toFixed(1)}`] : []
  })
}

function cut(button) {
  button.focus({ focusVisible: true })
  const { outlineWidth, outlineOffset } = getComputedStyle(button)
  const ring = parseFloat(outlineWidth) + Math.max(0, parseFloat(outlineOffset))
  if (!ring) return "no ring"
  const box = button.getBoundingClientRect()
  for (let part = button.parentElement; !part.matches(".jp-Cell"); part = part.parentElement) {
    if (getComputedStyle(part).overflow === "visible") continue
    const around = part.getBoundingClientRect()
    if (box.left - ring < around.left || box.right + ring > around.right
      || box.top - ring < around.top || box.bottom + ring > around.bottom) return part.className
  }
  return ""
}

async function seenThrough(image) {
  await image.decode()
  const canvas = document.createElement("canvas")
  canvas.width = image.naturalWidth
  canvas.height = image.naturalHeight
  const paper = canvas.getContext("2d")
  paper.drawImage(image, 0, 0)
  const { data } = paper.getImageData(0, 0, canvas.width, canvas.height)
  let clear = 0, white = 0
  for (let n = 0; n < data.length; n += 4) {
    if (data[n + 3] < 128) clear += 1
    else if (Math.min(data[n], data[n + 1], data[n + 2]) > 200) white += 1
  }
  return { clear: (4 * clear) / data.length, white: (4 * white) / data.length }
}
