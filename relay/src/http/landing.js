const button = document.getElementById('copy'), url = document.getElementById('url')
button.hidden = false
button.addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(url.textContent)
    button.textContent = 'Copied'
  } catch {
    getSelection().selectAllChildren(url)
    button.textContent = 'Selected'
  }
  setTimeout(() => { button.textContent = 'Copy' }, 2000)
})
