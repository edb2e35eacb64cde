// A button that opens JupyterLab's "Create New View for Cell Output" for the cell it is in, beside
// the page where there is room, else below it.
// Elsewhere than in `reactive-demo lab`, which lets pages reach the application, there is none.

const NARROW = 900 // pixels; with less, two columns are too thin to read
const WIDE = 1500 // with less, the file browser gives its room to the view

export default {
    render({ el }) {
        const app = window.jupyterapp
        if (!app) return
        let view = null
        const button = document.createElement("button")
        button.className = "jupyter-button rd-keep-in-view"
        button.textContent = "Keep in view"
        button.title = "Open a second view of this, which stays while the page moves"
        button.addEventListener("click", async () => {
            const page = app.shell.currentWidget
            const number = page.content.widgets.findIndex(cell => cell.node.contains(el))
            if (number < 0 || view?.isAttached) return
            page.content.activeCellIndex = number
            view = await open(app)
            if (window.innerWidth < WIDE) app.shell.collapseLeft()
            if (window.innerWidth >= NARROW) {
                app.shell.add(view, "main", { ref: page.id, mode: "split-right" })
            }
            const { node } = view.content
            new ResizeObserver(() => fit(node)).observe(node)
            app.shell.activateById(page.id) // the next Shift+Enter is for the page
        })
        el.append(button)
    },
}

async function open(app) {
    const before = new Set(app.shell.widgets("main"))
    await app.commands.execute("notebook:create-output-view")
    return [...app.shell.widgets("main")].find(widget => !before.has(widget))
}

// What is too high for the view is shown smaller, as long as it can be read.
function fit(node) {
    for (const zoom of [1, 0.9, 0.8, 0.75]) {
        for (const output of node.children) output.style.zoom = zoom
        const parts = [...node.querySelectorAll(".jp-OutputArea-output")]
        if (parts.every(part => part.scrollHeight <= part.clientHeight + 1)) return
    }
}
